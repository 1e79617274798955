"""How the patients in clusters differ from those with one of the diseases who are in no cluster."""

from collections.abc import Sequence

from ehr_pipeline.reports.left_out import Difference, Row
from ehr_pipeline.reports.statements.statement import Statement, listed, say

NAMES = {
    "age": "Age at the last record",
    "sex": "Female, where the sex is known",
    "concepts": "Recorded concepts, each counted once a day",
    "visits": "Days with a record",
    "years": "Years from first to last record",
    "practice": "Practice",
}
WORDS = {
    "age": ("older", "younger"),
    "sex": ("more women", "fewer women"),
    "concepts": ("more recorded concepts", "fewer recorded concepts"),
    "visits": ("more days with a record", "fewer days with a record"),
    "years": ("longer records", "shorter records"),
}
"""How those left out differ, in words: upwards and downwards."""
RECORD = ("concepts", "visits", "years")
"""Attributes that depend on how many visits a patient has."""
LARGE = 0.1
"""Standardised difference from which groups count as different (Austin 2009)."""


def who(cases: str, left_out: str, *, nobody: bool, everybody: bool) -> Statement:
    """Say how many cases are in no cluster: patients with one of the diseases, or all of the data set (`everybody`). `nobody`:
    whether all of them are in a cluster."""
    one = "" if everybody else " with one of the diseases"
    if nobody:
        return say("All patients{one} are in a cluster, so there are no others to compare with.", one=one)
    return say(
        "Of {cases} patients{one}, {left_out} are in no cluster (not in the data set, or without a chosen concept).",
        cases=cases,
        one=one,
        left_out=left_out,
    )


def differ(rows: Sequence[Row], fewest: int, visits: int) -> Statement:
    """Say in which attributes the patients left out differ from those in clusters, or that they are too few to compare. `visits`:
    the number that patients of the data set have at least."""
    if not rows:
        return say("They are fewer than {fewest}: too few to compare with the others.", fewest=fewest)
    known = [(row.attribute, row.difference) for row in rows if row.difference]
    apart = [(name, found) for name, found in known if abs(found.value) >= LARGE and (found.low > 0 or found.high < 0)]
    if not apart:
        return say(
            "In none of the attributes compared is the standardised difference at least {large:g} and beyond chance.",
            large=LARGE,
        )
    apart.sort(key=lambda pair: -abs(pair[1].value))
    return say(
        "They differ from the patients in clusters (95 % intervals in brackets): {named}.{rule} The clusters say nothing about"
        " them.",
        rule=f" The data set requires {visits} visits, so patients with short records are left out."
        if visits > 1 and any(name in RECORD and found.value < 0 for name, found in apart)
        else "",
        named=listed(
            f"{WORDS[name][found.value < 0]} ({'standardised difference ' if place == 0 else ''}{found.value:+.2f};"
            f" {found.low:+.2f} to {found.high:+.2f})"
            for place, (name, found) in enumerate(apart)
        ),
    )


def interval(found: Difference) -> str:
    """Return a standardised difference with its interval."""
    return f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f})"


def cells(row: Row) -> tuple[str, str, str, str]:
    """Return a row of the table: the attribute, both groups, and the difference."""
    if row.association is not None:
        return NAMES[row.attribute], row.inside, row.left_out, f"Cramér’s V {row.association:.2f}"
    return NAMES[row.attribute], row.inside, row.left_out, interval(row.difference) if row.difference else "–"


def explained() -> Statement:
    """Explain the table."""
    return say(
        "Medians (quartiles), or shares. Standardised difference: the mean of the patients left out minus the mean of those in"
        " clusters, in standard deviations, with its 95 % interval (Hedges and Olkin 1985); recorded concepts and days are"
        " compared by their logarithms. At {large:g} or more, groups differ (Austin 2009). It is computed from rounded counts;"
        " “–” appears where a small count could be computed from it. Concepts and days are counted before any concept or visit is"
        " left out. Practice: the association between practice and being left out, corrected for chance.",
        large=LARGE,
    )
