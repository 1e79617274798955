"""The table of clusters and concepts: for the first marks of each cluster, their lifts in all clusters that have them on their
card.

It shows nothing that the cards do not: a cell is filled only where the cluster's card has the concept, with the card's text.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ehr_pipeline.reports.cards import ConceptRow

EACH, MOST = 3, 30
"""Concepts of each cluster, and concepts in all, at most."""
STRONG, MIDDLE = 4.0, 2.0
"""Lifts from which a colour is darker; below 1, their inverses."""


@dataclass(frozen=True)
class Cell:
    """What the table shows for one cluster and one concept."""

    kind: str
    """The class of its colour."""
    text: str
    row: ConceptRow | None
    interval: str = ""
    """The interval of a lift that is shown."""


def table(cards: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Cell]]]:
    """Return a row for each concept: its name, and a cell for every card. Rows are in the order of the first card on which the
    concept is over-represented."""
    chosen: dict[str, str] = {}
    for rank in range(EACH):
        for card in cards:
            lifted = [row for row in card["over"] if row.lifted]
            chosen |= {row.concept: row.name for row in lifted[rank : rank + 1] if len(chosen) < MOST}
    rows_of = [{row.concept: row for row in (*card["over"], *card["under"])} for card in cards]
    order = sorted(
        chosen,
        key=lambda concept: next(place for place, rows in enumerate(rows_of) if concept in rows and rows[concept].over),
    )
    return [(chosen[concept], [_cell(rows.get(concept)) for rows in rows_of]) for concept in order]


def _share(row: ConceptRow) -> str:
    """Return the text of a cell whose lift may not be shown: the share of the cluster's patients, as on the card, or if that is
    hidden too, the direction."""
    return row.share if row.share != "–" else "more" if row.over else "less"


def _cell(row: ConceptRow | None) -> Cell:
    if row is None:
        return Cell("none", "", None)
    if not row.interval:
        return Cell(_kind(_least_lift(row), over=True) if row.over else "under1", _share(row), row)
    lift = float(row.lift.replace(",", "").replace("∞", "inf"))
    mixed = (row.over and not row.lifted) or (not row.over and lift > 1)
    kind = "mixed" if mixed else _kind(lift if row.over else 1 / max(lift, 1e-6), over=row.over)
    return Cell(kind, row.lift, row, row.interval)


def _kind(away: float, *, over: bool) -> str:
    return f"{'over' if over else 'under'}{1 + (away >= MIDDLE) + (away >= STRONG)}"


def _least_lift(row: ConceptRow) -> float:
    """Return the least lift that the shares on the card allow: the lowest share here over the highest elsewhere; 1 if either share
    is hidden."""
    here, elsewhere = (re.findall(r"[\d.]+", share) for share in (row.share, row.elsewhere))
    return min(map(float, here)) / max(*map(float, elsewhere), 1.0) if here and elsewhere else 1.0
