"""Which cells of a two-way table of patients, shown with its totals, must be hidden so that no small count can be reckoned.

A hidden cell follows from the totals unless it lies on a cycle of hidden cells: rows and columns are the nodes of a graph whose
edges are the hidden cells (Gusfield 1988, SIAM J. Comput. 17(3), 'A graph theoretic approach to statistical data security'). So
for each small count the cheapest cycle through it is hidden, the number of patients in a cell being its price (Castro 2012,
Computational Statistics and Data Analysis 56(9): the shortest-path heuristic). Totals are cells of one more row and column. Zeros
are hidden with the small counts: who knows that a hidden cell holds somebody could reckon more.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from ehr_pipeline.disclosure.suppression import Disclosure

Cells = NDArray[np.int64]
FREE, TOTAL, DEAR = 1e-6, 1.0, 1e12
"""Prices of a cell that is hidden already, of a row's or a column's total, and of the total of all, which the page tells elsewhere.

Totals are cheap: they tell less than the cells do.
"""


def with_totals(counts: Cells) -> Cells:
    """A table (K, L) with the totals of its rows and columns, and of all: (K + 1, L + 1)."""
    rows = np.hstack([counts, counts.sum(1, keepdims=True)])
    return np.vstack([rows, rows.sum(0, keepdims=True)])


def hidden(counts: Cells, disclosure: Disclosure) -> NDArray[np.bool_]:
    """Which cells (K + 1, L + 1) of a table (K, L) of patients and its totals must not show their number.

    Zeros and small counts are among them, and others from which those could be reckoned.
    """
    full = with_totals(counts)
    hide = full < disclosure.below
    waiting = [(int(row), int(column)) for row, column in np.argwhere(hide & (full > 0))]
    while waiting:
        for row, column in waiting:
            path = _cheapest_cycle(full, hide, row, column)
            if path is None:  # nothing can stand in for it
                return np.ones_like(hide)
            for cell in path:
                hide[cell] = True
        waiting = _small_sums(full, hide, disclosure)
        for cell in waiting:
            hide[cell] = True
    return hide


def _cheapest_cycle(full: Cells, hide: NDArray[np.bool_], row: int, column: int) -> list[tuple[int, int]] | None:
    """The cells that, with this one, are the cheapest cycle; None when there is none.

    Cells without patients cannot be on it: they could not be smaller than they are, and so would not leave the others room.
    """
    rows, columns = full.shape
    price = full.astype(float)
    price[-1, :] = price[:, -1] = TOTAL
    price[-1, -1] = DEAR
    price[hide] = FREE
    price[full == 0] = 0
    price[row, column] = 0  # no edge: the way round is what is asked for
    one, other = np.nonzero(price)
    size = rows + columns
    graph = csr_array((price[one, other], (one, rows + other)), shape=(size, size))
    far, before = dijkstra(graph, directed=False, indices=row, return_predecessors=True)
    if not np.isfinite(far[rows + column]):
        return None
    path, node = [], rows + column
    while node != row:
        ends = sorted((int(node), int(before[node])))
        path.append((ends[0], ends[1] - rows))
        node = int(before[node])
    return path


def _small_sums(full: Cells, hide: NDArray[np.bool_], disclosure: Disclosure) -> list[tuple[int, int]]:
    """What to hide next, for each row and column whose total is shown, and whose hidden cells add up to a small number: the total.

    Among the totals themselves it is the smallest that is shown.
    """
    found: list[tuple[int, int]] = []
    for turned in (False, True):
        counts, dark = (full.T, hide.T) if turned else (full, hide)
        for line, (own, there) in enumerate(zip(counts, dark, strict=True)):
            place, shown = len(own) - 1, np.flatnonzero(~there[:-1])
            if there[-1] or not disclosure.small(int(own[:-1][there[:-1]].sum())):
                continue
            if line == len(counts) - 1 and len(shown):
                place = int(shown[own[shown].argmin()])
            found.append((place, line) if turned else (line, place))
    return found
