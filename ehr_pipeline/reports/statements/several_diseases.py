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
        "{count} of {of} patients have several of the cohort’s diseases; most often, without a further one, {together}.",
        count=disclosure.about(found.several, found.of).capitalize(),
        of=disclosure.about(found.of),
        together=listed(f"{' with '.join(each)} (about {count:,} patients)" for each, count in combined[:NAMED]),
    )


def explained(disclosure: Disclosure) -> Statement:
    """Say how to read the picture."""
    few = (
        f" Numbers are made of counts rounded to a multiple of {disclosure.below}; an empty cell has too few patients to be"
        " shown, or none."
        if disclosure.below > 1
        else ""
    )
    return say(
        "Each patient is in one column: the diseases with a dot are those whose lists of codes the record fits, on enough days. A"
        " cluster’s row says which part of its patients is in each column, in percent; the last column has all with several"
        " diseases. On the cards, these count under one of them, so a share there can be larger.{few}",
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
