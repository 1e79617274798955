"""Partners of diseases (concepts that occur together with them), as the page may show them, from the consensus edges of
`concept_relations`.

A pair is named if enough patients have both concepts, by the rule for names (`figures.Naming`): a pair that disappears from the
next page then does not reveal how many have it. The odds ratio of a pair is shown only if four groups have enough patients: those
with both concepts, with only the one, with only the other, and with neither. The relative risk is shown only if enough patients had
the later concept after the earlier one, and enough had it after the matched dates. Otherwise, a small count could be computed from
the exact ratio and its interval.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ehr_pipeline.disclosure.figures import HIDDEN, Naming
from ehr_pipeline.disclosure.suppression import Disclosure


@dataclass(frozen=True)
class Partner:
    """A partner of a disease, as text."""

    name: str
    concept: str
    patients: str
    """Patients with both, rounded."""
    odds_ratio: str
    """The odds ratio among similar patients, with its interval; '–' where it would reveal a small count."""
    order: str
    """'later', 'earlier', or '' where neither comes first."""
    risk: str
    """The relative risk of the later concept after the earlier one, with its interval; '–' as above, or if neither comes first."""


def shown_edges(
    rows: Iterable[Mapping[str, Any]], named: Collection[str], naming: Naming, whole: int
) -> list[Mapping[str, Any]]:
    """Return the edges (`consensus.EDGES`) that the page may show; `whole` is the number of all patients."""
    return [
        row
        for row in rows
        if row["first"] in named
        and row["second"] in named
        and naming.shows(f"{row['first']} {row['second']}", row["patients"])
        and row["patients"] <= whole
    ]


def partners(concept: str, rows: Iterable[Mapping[str, Any]], disclosure: Disclosure, whole: int) -> list[Partner]:
    """Return the partners of a concept among shown edges, in their order."""
    found = []
    for row in rows:
        if concept in (row["first"], row["second"]):
            other = "second" if row["first"] == concept else "first"
            order = "" if not row["comes_first"] else "earlier" if row["comes_first"] == other else "later"
            risk = _risk(row, disclosure) if order else HIDDEN
            text = disclosure.about(row["patients"])
            found.append(Partner(row[f"{other}_name"], row[other], text, _odds(row, disclosure, whole), order, risk))
    return found


def _odds(row: Mapping[str, Any], disclosure: Disclosure, whole: int) -> str:
    both, one, other = row["patients"], row["patients_of_first"], row["patients_of_second"]
    cells = (both, one - both, other - both, whole - one - other + both)
    return ratio(row, "odds_ratio") if min(cells) >= disclosure.below else HIDDEN


def _risk(row: Mapping[str, Any], disclosure: Disclosure) -> str:
    cases = row["first_then_second" if row["comes_first"] == "first" else "second_then_first"]
    return ratio(row, "relative_risk") if min(cases, row["after_others"]) >= disclosure.below else HIDDEN


def ratio(row: Mapping[str, Any], name: str) -> str:
    """Return a ratio and its interval in two digits: '2.4 (1.9–3.1)'; '–' if one of them is missing."""
    values = [row[name], row[f"{name}_low"], row[f"{name}_high"]]
    if any(value is None for value in values):
        return HIDDEN
    low, high = map(_end, values[1:])
    return f"{two_digits(values[0])} ({low}–{high})"


def _end(value: float) -> str:
    """Return an end of an interval in two digits; in more, if it would look like 1 although the interval does not include 1."""
    return (
        next((text for n in range(2, 6) if float(text := f"{value:.{n}g}") != 1), "1.0")
        if 1 < value < 1.1
        else two_digits(value)
    )


def two_digits(value: float) -> str:
    """Return a number in two digits: '0.031', '2.4', '140'."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.2g}" if rounded < 1 else f"{rounded:.1f}"
