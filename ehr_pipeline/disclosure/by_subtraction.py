"""Which cells of the tables of concepts must not show their numbers, so that no small count can be reckoned from what is shown.

A shown cell tells how many have the concept here and elsewhere: so it tells the total of the concept, and what all cells add up to
that are not shown. Those tell by their texts in what range they lie ("<10", ">120", "about 780"). Who knows sum and ranges may
narrow each of them (Fellegi 1972, J. Am. Stat. Assoc. 67, 'On the question of statistical confidentiality': protection by bounds):
a small count is safe where that leaves it the whole range of its own text.
"""

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.disclosure.suppression import Disclosure

Cells = NDArray[np.int64]
Chosen = NDArray[np.bool_]


def hidden(counts: Cells, sizes: Cells, listed: Chosen, disclosure: Disclosure) -> Chosen:
    """Which listed cells (K, V) of patients by cluster and concept must not show their numbers; `sizes` (K,) of the clusters.

    Hidden are cells where few have the concept or few lack it, here or elsewhere; and so many more of the concept, the smallest
    first, that each count of few who have it or lack it is safe.
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
            # A zero is told even where it is hidden, and so protects nothing.
            places = np.flatnonzero(open_cells & (column > 0))
            if not len(places):
                open_cells[:] = False
                break
            open_cells[places[column[places].argmin()]] = False
    return listed & ~shown


def _few(counts: Cells, disclosure: Disclosure) -> Chosen:
    return (counts > 0) & (counts < disclosure.below)


def _ranges(column: Cells, sizes: Cells, listed: Chosen, disclosure: Disclosure) -> tuple[Cells, Cells]:
    """The fewest and the most (K,) that a cell may hold by its own text when it is hidden; anything where it is not listed."""
    low, high = np.zeros_like(column), sizes.copy()
    for place in np.flatnonzero(listed).tolist():
        count, size = int(column[place]), int(sizes[place])
        fewest, most = disclosure.around(count)
        if disclosure.small(count):
            low[place], high[place] = fewest, min(most, size)
        elif disclosure.small(size - count):
            low[place], high[place] = max(size - disclosure.below + 1, 1), size - 1
        elif count == size:  # else the text would say that few lack it
            low[place], high[place] = size, size
        else:
            low[place], high[place] = fewest, min(most, size - disclosure.below)
    return low, high


def _safe(column: Cells, ranges: tuple[Cells, Cells], enough: Cells, guarded: Chosen, dark: Chosen) -> bool:
    """Whether the sum of the `dark` cells (K,) leaves each guarded one a range of at least `enough` (K,)."""
    total, (least, most) = int(column[dark].sum()), (end[dark] for end in ranges)
    fewest = np.maximum(least, total - (most.sum() - most))
    largest = np.minimum(most, total - (least.sum() - least))
    return bool((largest - fewest >= enough[dark])[guarded[dark]].all())
