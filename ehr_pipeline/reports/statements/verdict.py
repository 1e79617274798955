"""Whether patients differ and their conditions go together, as they do in subgroups: the banner at the top of the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ehr_pipeline.clusters.planted import COUNTS, THIS_RUN
from ehr_pipeline.clusters.trait_correlations import LEAST_DOUBTFUL_P, MAX_P
from ehr_pipeline.reports.cluster_reliability import Standing
from ehr_pipeline.reports.statements.statement import Rate, Statement, counted, joined, listed, markup, percent, say

HARDLY, MOSTLY = 0.1, 0.8
"""Adjusted Rand indices from which clusters match planted groups in part, and for the most part."""
LOOSE = 0.5
"""A match is loose if a number varies, among the compared patients, by more than this share of its variation among all."""


def invented(planted: Mapping[str, Any], evidence: Mapping[str, Any]) -> Statement:
    """Warn that the patients are synthetic, and say how far the clusters match the groups that were planted (`planted`), and
    whether the `evidence` misses them."""
    if not planted["groups"]:
        return say(
            "<b>These patients are invented.</b> A program generated their records; ages, diseases and numbers have no clinical"
            " meaning. It planted no groups of patients: if conditions go together, there are no subgroups behind it."
        )
    (own, within), (counts, counts_within) = (
        (found["adjusted_rand_index"], found["within_diseases"])
        for found in (planted["vectors"][name] for name in (THIS_RUN, COUNTS))
    )
    return say(
        "<b>These patients are invented.</b> A program generated their records; ages, diseases and numbers have no clinical"
        ' meaning. It planted {groups} groups of patients. <a href="#truth">Compared with this truth</a>, the same number of'
        " clusters by this page’s method {match} (adjusted Rand index {own:.2f}; 1 is a full match, 0 is chance; {counts:.2f} by"
        " concept counts without a model, {disease:.2f} by the disease alone). Among patients of one disease, it is {within:.2f},"
        " and {counts_within:.2f} by concept counts.{missed}",
        missed=" The answer below, no evidence of subgroups, misses them." if _missed(planted, evidence) else "",
        groups=planted["groups"],
        match=_match(own),
        own=own,
        counts=counts,
        disease=planted["disease"],
        within=within,
        counts_within=counts_within,
    )


def _missed(planted: Mapping[str, Any], evidence: Mapping[str, Any]) -> bool:
    """Return whether the tests missed planted groups: they could be made, but found no evidence of subgroups within diseases."""
    untold = evidence["verdict"] == "none" or (evidence["verdict"] == "differ" and evidence["traits"]["found"] is False)
    return bool(untold and planted["groups"] > 1 and planted["disease"] < 1)


def _match(index: float) -> str:
    """Say in words how well clusters match planted groups, by their adjusted Rand index."""
    if index < HARDLY:
        return "hardly match them"
    return "match them in part" if index < MOSTLY else "match most of them"


def banner(evidence: Mapping[str, Any], standing: Standing, mirrored: Sequence[str]) -> Statement:
    """Return the verdicts of the two tests. `mirrored`: attributes, except disease, that the clusters follow closely."""
    match evidence["verdict"]:
        case "untested":
            return untested()
        case "none":
            return by_recording(evidence) if evidence["explained"] else none(evidence, mirrored)
        case "differ":
            return differ(evidence, mirrored)
        case _:
            return some(evidence, standing, mirrored)


def undivided(tried: int) -> Statement:
    """Say that all patients are in one cluster. `tried`: the largest number of clusters tried, 0 if no other number was."""
    if not tried:
        return say(
            "<b>These patients are not divided.</b> Either the settings ask for one cluster, or there are too few patients to try"
            " more. Whether there are subgroups was not tested."
        )
    return say(
        "<b>The records support no division of these patients.</b> Divisions into 2 to {tried} clusters were tried. In each, the"
        " two halves of a patient’s record do not agree on the clusters, or not on all of them, beyond what disease, age, sex and"
        " amount of record explain. So all patients are left in one cluster, and this page describes no subgroups.",
        Rate.SUBGROUPS,
        tried=tried,
    )


def relation(word: str, listed_clusters: int, *, tested: bool) -> Statement:
    """Say how the clusters in the list relate to the evidence of subgroups.

    `word` is the verdict; `tested`: whether the test of conditions could tell.
    """
    clusters = counted(listed_clusters, "cluster")
    sorts = (
        f"The {clusters} in the list sort{'s' if listed_clusters == 1 else ''} the patients by what is in their records"
    )
    if word in ("clear", "weak"):
        return say(
            "{sorts}; the fact that conditions go together does not make any of them a subgroup.",
            Rate.SUBGROUPS,
            sorts=sorts,
        )
    rest = " The test of subgroups misses many, so this does not exclude them." if tested else ""
    return say(
        "{sorts}, as clustering always does. Whether a disease has subgroups is another question, and the clusters are no"
        " evidence for it.{rest}",
        Rate.SUBGROUPS,
        sorts=sorts,
        rest=rest,
    )


def colour(evidence: Mapping[str, Any], standing: Standing) -> str:
    """Return the colour of the banner (a CSS class). A clear verdict is green only if most clusters can be relied on."""
    verdict = str(evidence["verdict"])
    return standing.colour if verdict == "clear" else "weak" if verdict == "differ" else verdict


def recognised(evidence: Mapping[str, Any]) -> str:
    """Return the result of the split-half test as a sentence without a full stop."""
    low, high = evidence["interval"] or (None, None)
    within = f" (95 % interval {round(low, 2) + 0.0:.2f} to {high:.2f})" if low is not None and high is not None else ""
    return (
        f"Of {evidence['tested']} patients tested, the cluster of one random half of the record is recognised from the other half"
        f" for {percent(evidence['recognised'])}, and from the record of a similar patient (same disease and sex, similar age and"
        f" amount of record) for {percent(evidence['expected'])}. This is an excess of {evidence['excess']:.2f}{within}, where 0"
        " is chance and 1 is certain"
    )


def none(evidence: Mapping[str, Any], mirrored: Sequence[str]) -> Statement:
    """Say that there is no evidence of subgroups."""
    mirror = (
        markup(" (above all, they reflect {names}; see the bias audit)", names=listed(mirrored)) if mirrored else ""
    )
    return say(
        "<b>No evidence of subgroups in this cohort.</b> {recognised}. Any clustering method divides any cohort; these clusters"
        " were not shown to say more about a patient than disease, age, sex and amount of record do{mirror}. Do not give them"
        " names or meanings.",
        Rate.SUBGROUPS,
        recognised=recognised(evidence),
        mirror=mirror,
    )


def differ(evidence: Mapping[str, Any], mirrored: Sequence[str]) -> Statement:
    """Say that patients differ persistently, but that their conditions are not correlated, or could not be compared."""
    traits = evidence["traits"]
    head = (
        "Patients differ persistently; the records do not tell whether there are subgroups."
        if traits["found"] is None
        else "Patients differ persistently, but there is no evidence of subgroups."
    )
    compared = Markup(" ").join(part for part in (_comparison(evidence), _own_traits(evidence)) if part)
    differing = say(
        "<b>{head}</b> {recognised}. So patients differ beyond disease, age, sex and amount of record, as all patients with"
        " chronic conditions do. If there were subgroups, each with conditions that are typical of it, conditions would go"
        " together more than in other patients. {compared} Groups that differ only in the order of events are not examined. Read"
        " the clusters as patients with, or without, similar lasting conditions, not as kinds of the disease.",
        Rate.SUBGROUPS,
        head=head,
        recognised=recognised(evidence),
        compared=compared,
    )
    return joined(Rate.SUBGROUPS, [differing, matched(evidence), also_follow(mirrored)])


def _comparison(evidence: Mapping[str, Any]) -> Markup:
    """Return, in words, that conditions do not go together more than in other patients, or why this is not known."""
    traits = evidence["traits"]
    if traits["p"] is None:
        return Markup(
            "To test this, other patients of the same sex, and of similar age and amount of record, without the disease but with"
            " the same conditions are needed. There are too few of them; in a cohort of all patients, there are none."
        )
    others, p = _comparison_patients(traits), _permutation_p(traits["p"], evidence)
    if traits["p"] > LEAST_DOUBTFUL_P:
        return markup(
            "Conditions go together less than in {others} of the same sex and of similar age and amount of record ({p}). That may"
            " be chance, or the patients compared differ in some other way; it does not exclude subgroups.",
            others=others,
            p=p,
        )
    return markup(
        "Conditions were not found to go together more than in {others} of the same sex and of similar age and amount of record"
        " ({p}). The test misses many subgroups, above all where a disease has few patients.",
        others=others,
        p=p,
    )


def _own_traits(evidence: Mapping[str, Any]) -> Markup | None:
    """Return, in words, what is known of conditions that cannot be compared; None if there are none."""
    if not (own := evidence["traits"]["own"]):
        return None
    left = f"{own['traits']} lasting conditions are too rare in patients without the disease to be compared."
    if own["p"] > MAX_P:
        return markup(
            "{left} They were not found to depend on each other in the patients of the disease ({p}).",
            left=left,
            p=_permutation_p(own["p"], evidence),
        )
    exclude = own["p_exclude"] <= MAX_P
    return markup(
        "{left} In the patients of the disease, they depend on each other ({p}): {how}.",
        left=left,
        p=_permutation_p(own["p"], evidence),
        how="some exclude each other, as they do in subgroups. Two codes, or two treatments, for one condition do so as well"
        if exclude
        else "some go together, as they do in subgroups. With severity or a longer follow-up, they do so as well",
    )


def by_recording(evidence: Mapping[str, Any]) -> Statement:
    """Say that differences in recording, between practices or years, explain the clusters."""
    name = evidence["explained"][0]
    left, exchanged = (f"{evidence['again'][name][key]:.2f}" for key in ("excess", "exchanged"))
    return say(
        "<b>No evidence of subgroups: recording by {name} explains the clusters.</b> {recognised}. Among patients who also have"
        " the same {name}, this excess is {left}; if patients are matched equally closely, but regardless of {name}, it is"
        " {exchanged}. Recording is enough to explain the clusters; whether the patients differ as well is unknown.",
        Rate.SUBGROUPS,
        name=name,
        recognised=recognised(evidence),
        left=left,
        exchanged=exchanged,
    )


def _comparison_patients(traits: Mapping[str, Any]) -> str:
    """Return, in words, the patients with whom the patients of each disease were compared."""
    several = len(traits["diseases"]) > 1
    if traits["others"] and several:
        return "patients with another of the diseases, or with none of them,"
    return "patients without the disease" if traits["others"] else "patients with another of the diseases"


def matched(evidence: Mapping[str, Any]) -> Statement | None:
    """Warn that patients could not be matched closely on age or amount of record; None if they could."""
    loose = [name for name, left in evidence["balance"].items() if left is not None and left > LOOSE]
    if not loose:
        return None
    words = {"age": "age", "amount": "amount of record"}
    left = listed(
        f"{words[name]} varies {percent(evidence['balance'][name])} as much as among all patients" for name in loose
    )
    return say("There are too few patients for a close match: in the groups compared, {left}.", left=left)


def untested() -> Statement:
    """Say that the test could not be made."""
    return say(
        "<b>Too few patients to test whether the clusters mean anything.</b> Fewer than 50 patients have enough records for the"
        " split-half test. Read what follows as a description, not as a finding."
    )


def some(evidence: Mapping[str, Any], standing: Standing, mirrored: Sequence[str]) -> Statement:
    """Say that conditions go together, and in how many of the clusters patients differ persistently."""
    test = say("{recognised} ({p}).", recognised=recognised(evidence), p=_permutation_p(evidence["p"], evidence))
    verdict = evidence["verdict"]
    parts = [headline(verdict, standing), test, trait_correlations(evidence), matched(evidence)]
    return joined(Rate.SUBGROUPS, [*parts, only_some(verdict), also_follow(mirrored)])


def _permutation_p(p: float, evidence: Mapping[str, Any]) -> str:
    """Return a permutation p value with the number of permutations; the smallest that they allow is a bound."""
    permutations = evidence["permutations"]
    sign = "<" if p * (1 + permutations) < 1.5 else "="
    return f"permutation p {sign} {p:.3f}, {permutations:,} permutations"


def trait_correlations(evidence: Mapping[str, Any]) -> Statement:
    """Say that conditions are correlated more strongly in these patients than in others."""
    return say(
        "Also, their conditions go together more than in {others} of the same sex and of similar age and amount of record ({p})."
        " This test cannot distinguish subgroups from one gradient, such as severity.",
        Rate.SUBGROUPS,
        others=_comparison_patients(evidence["traits"]),
        p=_permutation_p(evidence["traits"]["p"], evidence),
    )


def headline(verdict: str, standing: Standing) -> Statement:
    """Say what may be behind it that conditions go together, in how many clusters the evidence that patients differ is clear, and
    why it is not clear in the others."""
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
        "<b>Conditions go together within a disease beyond chance, as with subgroups or with one gradient such as severity. {word}"
        " evidence of lasting differences between patients{where}{rest}.</b>",
        Rate.SUBGROUPS,
        word="Weak" if weak else "Clear",
        where=where,
        rest=rest,
    )


def only_some(verdict: str) -> Statement | None:
    """Warn that weak evidence does not apply to every patient; None if the evidence is clear."""
    return say("The division holds only for some patients: look at each cluster below.") if verdict == "weak" else None


def also_follow(mirrored: Sequence[str]) -> Statement | None:
    """Warn that the clusters follow attributes of patients or of recording closely; None if they do not."""
    if not mirrored:
        return None
    return say(
        "The clusters also follow {names}, so in part they may reflect that rather than kinds of disease: see the <a"
        ' href="#audit">bias audit</a>.',
        Rate.AUDIT,
        names=listed(mirrored),
    )
