"""Patients with several of the cohort's diseases."""

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.several_diseases import OTHERS, Overlap
from ehr_pipeline.reports.statements.statement import Statement, listed, percent, say

NAMED = 3
"""Most combinations named in the sentence."""


def several(found: Overlap, disclosure: Disclosure) -> Statement:
    """Say how many patients have several diseases, and which of them occur together most often."""
    pairs = zip(found.sets, found.patients, found.combined, strict=True)
    combined = [(each, count) for each, count, several in pairs if several and each != OTHERS]
    return say(
        "{count} of {of} patients have several of the cohort’s diseases; most often, with no further one, {together}.",
        count=disclosure.about(found.several, found.of).capitalize(),
        of=disclosure.about(found.of),
        together=listed(f"{' with '.join(each)} (about {count:,} patients)" for each, count in combined[:NAMED]),
    )


def explained(disclosure: Disclosure) -> Statement:
    """Say how to read the picture."""
    few = (
        f" Percentages are computed from counts rounded to a multiple of {disclosure.below}; an empty cell has no patients, or"
        " too few to show."
        if disclosure.below > 1
        else ""
    )
    return say(
        "Each patient is in one column. A dot marks the diseases that the patient has: the record contains their codes on enough"
        " days. The row of a cluster shows the percentage of its patients in each column; the last column is for all patients"
        " with several diseases. On the cards, these patients are counted under one of their diseases, so a share there can be"
        " larger.{few}",
        few=few,
    )


def alt(found: Overlap, disclosure: Disclosure) -> str:
    """Return the text for readers who do not see the picture."""
    rows = []
    for number, shares, together in zip(found.numbers, found.shares, found.together, strict=True):
        columns = [*zip(map(name_of, found.sets), shares, strict=True), ("several diseases", together)]
        shown = ", ".join(f"{name} {percent(share)}" for name, share in columns if share)
        rows.append(f"cluster {number}: {shown or 'too few of any'}")
    return f"Diseases by cluster. {several(found, disclosure)} {'; '.join(rows)}."


def name_of(each: tuple[str, ...]) -> str:
    """Return the name of a set of diseases."""
    return " with ".join(each) or "other combinations"
