"""Decide which cells of the concept tables to hide, so that no small count can be computed from the others.

A shown cell gives the number of patients with the concept in its cluster and elsewhere. It thus reveals the concept's total, and so
the sum of all hidden cells. The text of a hidden cell ("<10", ">120", "about 780") gives a range. From the sum and the ranges, a
reader may compute a narrower range for each hidden cell (Fellegi 1972, J. Am. Stat. Assoc. 67, 'On the question of statistical
confidentiality': protection by bounds). A small count is safe if the range that can be computed is not narrower than the range of
its text. A hidden cell may also state a range for the concept's share elsewhere, which must not narrow the cell's own range
(`elsewhere`).
"""

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.disclosure.suppression import Disclosure

Cells = NDArray[np.int64]
Chosen = NDArray[np.bool_]


def hidden(counts: Cells, sizes: Cells, listed: Chosen, disclosure: Disclosure) -> Chosen:
    """Return a mask (K, V) of the listed cells to hide; `counts` are patients by cluster (of `sizes` (K,)) and concept.

    A cell is hidden if few patients have the concept or few lack it, in the cluster or elsewhere. More cells of that concept are
    then hidden, smallest first, until every small count of patients who have or lack it is safe.
    """
    lacking, elsewhere = sizes[:, None] - counts, counts.sum(0) - counts
    others = (sizes.sum() - sizes)[:, None]
    guarded = _few(counts, disclosure) | _few(lacking, disclosure)
    sensitive = guarded | _few(elsewhere, disclosure) | _few(others - elsewhere, disclosure)
    shown = listed & ~sensitive
    for concept in np.flatnonzero(shown.any(0) & sensitive.any(0)).tolist():
        column, open_cells = counts[:, concept], shown[:, concept]
        ranges = low, high = _ranges(column, sizes, listed[:, concept], disclosure)
        enough = np.where(listed[:, concept], high - low, disclosure.below - 1)
        while open_cells.any() and not _safe(column, ranges, enough, guarded[:, concept], ~open_cells):
            # Hiding a zero protects nothing, since readers recognise it even when hidden.
            places = np.flatnonzero(open_cells & (column > 0))
            if not len(places):
                open_cells[:] = False
                break
            open_cells[places[column[places].argmin()]] = False
    return listed & ~shown


def elsewhere(
    column: Cells, cluster: int, sizes: Cells, disclosure: Disclosure, *, listed: Chosen, shown: Chosen
) -> tuple[int, int] | None:
    """Return the range of patients elsewhere that may be stated beside a hidden cell, as (fewest, most); None if no range may be.

    `column`, `listed` and `shown` are of one concept, by cluster (K,). The range is compatible with every number of patients that
    the hidden cell's text allows in its cluster, so a reader who knows the concept's total from other cells learns nothing more.
    """
    low, high = ranges = _ranges(column, sizes, listed, disclosure)
    lacking = sizes - column
    guarded = _few(column, disclosure) | _few(lacking, disclosure)
    enough = np.where(listed, high - low, disclosure.below - 1)
    if not _safe(column, ranges, enough, guarded, ~shown):
        return None
    total, others = int(column.sum()), int(sizes.sum() - sizes[cluster])
    fewest, most = max(total - int(high[cluster]), 0), min(total - int(low[cluster]), others)
    outside = total - int(column[cluster])
    if disclosure.small(outside):
        fewest, most = 0, max(most, disclosure.below)
    if disclosure.small(others - outside):
        fewest, most = min(fewest, others - disclosure.below), others
    return fewest, most


def _few(counts: Cells, disclosure: Disclosure) -> Chosen:
    return (counts > 0) & (counts < disclosure.below)


def _ranges(column: Cells, sizes: Cells, listed: Chosen, disclosure: Disclosure) -> tuple[Cells, Cells]:
    """Return the bounds (K,) given by the text of each hidden cell; 0 and the cluster's size for a cell that is not listed."""
    low, high = np.zeros_like(column), sizes.copy()
    for place in np.flatnonzero(listed).tolist():
        count, size = int(column[place]), int(sizes[place])
        fewest, most = disclosure.around(count)
        if disclosure.small(count):
            low[place], high[place] = fewest, min(most, size)
        elif disclosure.small(size - count):
            low[place], high[place] = max(size - disclosure.below + 1, 1), size - 1
        elif count == size:  # otherwise the text would say that few patients lack it
            low[place], high[place] = size, size
        else:
            low[place], high[place] = fewest, min(most, size - disclosure.below)
    return low, high


def _safe(column: Cells, ranges: tuple[Cells, Cells], enough: Cells, guarded: Chosen, dark: Chosen) -> bool:
    """Return whether the range computable from the sum of hidden (`dark`) cells is `enough` (K,) wide for each guarded cell."""
    total, (least, most) = int(column[dark].sum()), (end[dark] for end in ranges)
    fewest = np.maximum(least, total - (most.sum() - most))
    largest = np.minimum(most, total - (least.sum() - least))
    return bool((largest - fewest >= enough[dark])[guarded[dark]].all())
