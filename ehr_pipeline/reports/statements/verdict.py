"""Whether the cohort has subgroups at all: the banner at the top of the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from ehr_pipeline.reports.statements.statement import Rate, Statement, listed, markup, percent, say, together
from ehr_pipeline.reports.sureness import Standing

FINEST_P = 0.006
"""A permutation p value below this is the smallest that the number of permutations allows."""


def invented() -> Statement:
    """Warn that the patients are synthetic."""
    return say(
        "<b>These patients are invented.</b> A program drew their records and planted groups of patients in them, so that this"
        " page can be held against the truth; ages, diseases and numbers have no clinical meaning."
    )


def banner(evidence: Mapping[str, Any], standing: Standing, mirrored: Sequence[str]) -> Statement:
    """Return the verdict of the split-half test; `mirrored`: attributes that the clusters follow closely, except disease."""
    if evidence["verdict"] == "none":
        return none(evidence, mirrored)
    if evidence["verdict"] == "untested":
        return untested()
    return some(evidence, standing, mirrored)


def colour(evidence: Mapping[str, Any], standing: Standing) -> str:
    """Return the colour of the banner, a class of the page's style: a clear verdict is green if most clusters deserve it."""
    return standing.colour if evidence["verdict"] == "clear" else str(evidence["verdict"])


def recognised(evidence: Mapping[str, Any]) -> str:
    """Return what the split-half test measured, without a full stop."""
    return (
        "From one random half of a patient’s record, the cluster of the other half is recognised for"
        f" {percent(evidence['recognised'])} of patients; from the record of another patient with the same disease and sex and of"
        f" like age and amount of record, for {percent(evidence['expected'])}"
    )


def none(evidence: Mapping[str, Any], mirrored: Sequence[str]) -> Statement:
    """Say that there is no evidence of subgroups."""
    mirror = markup(" (above all, they mirror {names}; see the bias audit)", names=listed(mirrored)) if mirrored else ""
    return say(
        "<b>No evidence of subgroups in this cohort.</b> {recognised}. Any method of clustering divides any cohort; these clusters"
        " say no more about a patient than disease, age, sex and amount of record do{mirror}. They should not be given names or"
        " meanings.",
        Rate.SUBGROUPS,
        recognised=recognised(evidence),
        mirror=mirror,
    )


def untested() -> Statement:
    """Say that the test could not be made."""
    return say(
        "<b>Too few patients to test whether the clusters mean anything.</b> Fewer than 50 patients have enough records for the"
        " split-half test. Read what follows as a description, not as a finding."
    )


def some(evidence: Mapping[str, Any], standing: Standing, mirrored: Sequence[str]) -> Statement:
    """Say that there is weak or clear evidence of subgroups, and in how many of the clusters."""
    smallest = evidence["p"] < FINEST_P
    test = say("{recognised} (permutation p {sign} {p:.3f}).", recognised=recognised(evidence), p=evidence["p"],
               sign="<" if smallest else "=")  # fmt: skip
    verdict = evidence["verdict"]
    return together(Rate.SUBGROUPS, [headline(verdict, standing), test, only_some(verdict), also_follow(mirrored)])


def headline(verdict: str, standing: Standing) -> Statement:
    """Say how strong the evidence is, in how many clusters it is clear, and why not in the others."""
    weak = verdict == "weak"
    if standing.usable:
        of_patients = f" ({standing.share} of the patients)" if standing.share != "–" else ""
        where = (
            f"{' overall, clear' if weak else ''} in {standing.usable} of {standing.total} {standing.kind}{of_patients}"
        )
    else:
        where = f", but in none of the {standing.total} {standing.kind} alone"
    rest = f"; of {'the others' if standing.usable else 'these'}, {standing.others}" if standing.others else ""
    return say(
        "<b>{word} evidence of subgroups{where}{rest}.</b>",
        Rate.SUBGROUPS,
        word="Weak" if weak else "Clear",
        where=where,
        rest=rest,
    )


def only_some(verdict: str) -> Statement | None:
    """Warn, of weak evidence, that it does not hold for everybody; None if the evidence is clear."""
    return say("The division holds for some patients only: look at each cluster below.") if verdict == "weak" else None


def also_follow(mirrored: Sequence[str]) -> Statement | None:
    """Warn that the clusters follow attributes of patients or of recording closely; None if they do not."""
    if not mirrored:
        return None
    return say(
        "The clusters also follow {names} closely, and may in part show that rather than kinds of disease: see the <a"
        ' href="#audit">'
        "bias audit</a>.",
        Rate.AUDIT,
        names=listed(mirrored),
    )
