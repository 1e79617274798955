"""Sentences about the concepts that the vectors of a cluster's patients depend on, determined by leaving concepts out
(occlusion)."""

from collections.abc import Mapping

from ehr_pipeline.clusters.occlusion import AGE, MEMBERS, ConceptUse, Occlusion
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.statements.statement import Rate, Statement, cluster_link, listed, markup, percent, say
from ehr_pipeline.vocabulary.table import Vocabulary

SHOWN = 6
"""Most concepts named on a card."""
LEAST = 0.01
"""A concept is named only if leaving it out takes at least this part of the cluster's lead over others."""
SOLE = 0.9
"""A cluster rests on one concept, or on the mean age, alone if leaving it out loses at least this part of the lead."""


def rests_on(
    found: Occlusion | None, number: int, vocabulary: Vocabulary, disclosure: Disclosure, *, verdict: str
) -> Statement | None:
    """List the concepts that the vectors of a cluster depend on; None without evidence of subgroups, or if none may be named."""
    used = _named(found, number, disclosure, verdict)
    if _leads_nowhere(found, number, verdict):
        return say(
            "What its vectors depend on: nothing. On average, its patients are no nearer to the centre of this cluster than to"
            " that of another: it contains patients who fit no other cluster."
        )
    if not used:
        return None
    names = [f"{_name(one, vocabulary)} ({_part(one.lost)})" for one in used[:SHOWN]]
    names += [f"and {len(used) - SHOWN} more"] if len(used) > SHOWN else []
    return say("What its vectors depend on (part of the lead lost without it): {names}.", names=listed(names, ", "))


def _named(found: Occlusion | None, number: int, disclosure: Disclosure, verdict: str) -> list[ConceptUse]:
    """Return the nameable concepts that the vectors of a cluster depend on; empty without evidence of subgroups."""
    if found is None or verdict == "none":
        return []
    return [one for one in found.used.get(number, ()) if disclosure.named(one.having) and one.lost >= LEAST]


def _leads_nowhere(found: Occlusion | None, number: int, verdict: str) -> bool:
    """Return whether a cluster's patients are on average no nearer to its centre than to that of another cluster."""
    return found is not None and verdict != "none" and found.lead.get(number, 1.0) <= 0


def _name(one: ConceptUse, vocabulary: Vocabulary) -> str:
    return "mean age" if one.token == AGE else vocabulary.name(one.token)


def first(
    found: Occlusion | None, number: int, vocabulary: Vocabulary, disclosure: Disclosure, *, verdict: str
) -> Statement | None:
    """Name the concept that a cluster's vectors depend on most, and the part of the lead lost without it; None as in `rests_on`."""
    if _leads_nowhere(found, number, verdict):
        return say("nothing: it contains patients who fit no other cluster")
    used = _named(found, number, disclosure, verdict)
    return say("{name} ({part})", name=_name(used[0], vocabulary), part=_part(used[0].lost)) if used else None


def single_concepts(
    found: Occlusion | None, vocabulary: Vocabulary, disclosure: Disclosure, *, verdict: str
) -> dict[int, str]:
    """For each cluster (by number) that depends on one concept alone, return this concept's name. Empty without evidence of
    subgroups."""
    leading = {number: _named(found, number, disclosure, verdict)[:1] for number in (found.used if found else ())}
    return {
        number: _name(one, vocabulary) for number, named in sorted(leading.items()) for one in named if one.lost >= SOLE
    }


def _in_words(resting: Mapping[int, str]) -> str:
    """Return words for what clusters rest on: a concept or, for some, the mean age."""
    return "one concept or the mean age" if "mean age" in resting.values() else "one concept"


def one_concept(resting: Mapping[int, str]) -> Statement | None:
    """Warn about the clusters that rest on one concept alone (`single_concepts`); None if there are none."""
    if not resting:
        return None
    names = listed(markup("{link} ({name})", link=cluster_link(number), name=name) for number, name in resting.items())
    return say(
        "If just {single} were left out, {names} would lose at least {part} of what separates {whose} patients from the nearest"
        " other cluster.",
        Rate.CLUSTER,
        single=_in_words(resting),
        names=markup("cluster {names}" if len(resting) == 1 else "clusters {names}", names=names),
        whose="its" if len(resting) == 1 else "their",
        part=percent(SOLE),
    )


def how_many_rest_on_one(resting: Mapping[int, str], clusters: int) -> Statement | None:
    """Warn how many of all `clusters` rest on one concept alone; None if there are none."""
    if not resting:
        return None
    return say(
        "If just {single} were left out, {some} of the {clusters} clusters would lose at least {part} of what separates {whose}"
        ' patients from the nearest other cluster. The column <a href="#glance">Depends most on</a> shows which one.',
        Rate.CLUSTER,
        single=_in_words(resting),
        some=len(resting),
        clusters=clusters,
        whose="its" if len(resting) == 1 else "their",
        part=percent(SOLE),
    )


def one_concept_means() -> Statement:
    """Explain to the reader what it means that a cluster depends on one concept."""
    return say(
        "Without that item, such a cluster would hardly differ from its neighbour, so membership depends largely on this one item"
        " of the record. Another concept can have the same role in the same cluster. Not all of its patients need have the"
        " concept, and patients of other clusters have it too. “How to read the cards” explains how this was measured."
    )


def _part(lost: float) -> str:
    """Return a part of the lead in words. Without a concept, more than the whole lead can be lost."""
    return "all" if lost >= 1 else percent(lost)


def explained(found: Occlusion | None) -> Statement | None:
    """Explain what it means that vectors depend on a concept, and which parts were never left out."""
    if found is None:
        return None
    return say(
        "What its vectors depend on: each concept in turn was left out of the records of up to {members} patients of the cluster,"
        " and their vectors were computed again. The percentage is the part of their lead that they lose on average; the lead is"
        " how much nearer they are to the centre of this cluster than to that of the nearest other one. “All”: without the"
        " concept, they are no nearer to the centre of this cluster. Not all of the patients need have the concept. The"
        " percentage shows what the model used to put the patients together, not what is more frequent here. Concepts that go"
        " together can replace one another, so the parts do not add up.{profile}",
        members=MEMBERS,
        profile=""
        if found.decides >= 1
        else f" Only the concept profile was recomputed; it accounts for {percent(found.decides)} of the squared distance. The"
        " encoder’s part was not changed.",
    )
