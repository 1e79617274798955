"""Which concepts the vectors of a cluster's patients rest on."""

from ehr_pipeline.clusters.occlusion import AGE, MEMBERS, Occlusion
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.statements.statement import Statement, listed, percent, say
from ehr_pipeline.vocabulary.table import Vocabulary

SHOWN = 6
"""Most concepts named on a card."""
LEAST = 0.01
"""Concepts that take less of the lead are not named."""


def rests_on(
    found: Occlusion | None, number: int, vocabulary: Vocabulary, disclosure: Disclosure, *, verdict: str
) -> Statement | None:
    """Say what the vectors of a cluster rest on; None without evidence of subgroups, or if nothing may be named."""
    if found is None or verdict == "none":
        return None
    used = [one for one in found.used.get(number, ()) if disclosure.named(one.having) and one.lost >= LEAST]
    if not used:
        return None
    names = [
        f"{'mean age' if one.token == AGE else vocabulary.name(one.token)} ({_part(one.lost)})" for one in used[:SHOWN]
    ]
    return say("What its vectors rest on (part of the lead lost without it): {names}.", names=listed(names, ", "))


def _part(lost: float) -> str:
    """Return a part of the lead in words: a concept can take more than all of it."""
    return "all" if lost >= 1 else percent(lost)


def explained(found: Occlusion | None) -> Statement | None:
    """Say what it means that vectors rest on a concept, and what was not left out."""
    if found is None:
        return None
    return say(
        "What its vectors rest on: each concept in turn was left out of the records of up to {members} patients of the cluster,"
        " and their vectors were made again. The percentage is the part of their lead (how much nearer they are to the centre of"
        " their cluster than to that of the nearest other one) that is lost on average; “all” means that without the concept they"
        " are no nearer to their own. It says what the model used to put them together, not what is more frequent here; concepts"
        " that go together can stand in for one another, so that the parts do not add up. Only the concept profile was made again,"
        " which decides {share} of the squared distance; the part of the network was left as it is.",
        members=MEMBERS,
        share=percent(found.decides),
    )
