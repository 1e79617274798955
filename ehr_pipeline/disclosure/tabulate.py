"""Decide which cells of a two-way table of patients, shown with totals, to hide so that no small count can be computed.

A hidden cell can be computed from the totals unless it lies on a cycle of hidden cells: rows and columns are the nodes of a graph
whose edges are the hidden cells (Gusfield 1988, SIAM J. Comput. 17(3), 'A graph theoretic approach to statistical data security').
So for each small count the cheapest cycle through it is hidden. The price of a cell is its number of patients (Castro 2012,
Computational Statistics and Data Analysis 56(9): the shortest-path heuristic). Totals are the cells of an extra row and column.
Zeros are hidden as well: a reader who knew that every hidden cell has patients could compute more.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from ehr_pipeline.disclosure.suppression import Disclosure

Cells = NDArray[np.int64]
FREE, TOTAL, DEAR = 1e-6, 1.0, 1e12
"""Prices of a cell already hidden, of a row's or column's total (cheap, as it says less), and of the grand total."""


def with_totals(counts: Cells) -> Cells:
    """Return a table (K, L) with the totals of its rows and columns and the grand total: (K + 1, L + 1)."""
    rows = np.hstack([counts, counts.sum(1, keepdims=True)])
    return np.vstack([rows, rows.sum(0, keepdims=True)])


def hidden(counts: Cells, disclosure: Disclosure) -> NDArray[np.bool_]:
    """Return a mask (K + 1, L + 1) of the cells to hide in a table (K, L) of patients and its totals.

    Zeros and small counts are hidden, and other cells from which these could be computed.
    """
    full = with_totals(counts)
    hide = full < disclosure.below
    waiting = [(int(row), int(column)) for row, column in np.argwhere(hide & (full > 0))]
    while waiting:
        for row, column in waiting:
            path = _cheapest_cycle(full, hide, row, column)
            if path is None:  # no other cells can protect this one: hide everything
                return np.ones_like(hide)
            for cell in path:
                hide[cell] = True
        waiting = _small_sums(full, hide, disclosure)
        for cell in waiting:
            hide[cell] = True
    return hide


def _cheapest_cycle(full: Cells, hide: NDArray[np.bool_], row: int, column: int) -> list[tuple[int, int]] | None:
    """Return the cells that form the cheapest cycle with this one; None if there is no cycle.

    Cells without patients cannot be on the cycle: their numbers cannot become smaller, so the other cells of the cycle would have
    no room to vary.
    """
    rows, columns = full.shape
    price = full.astype(float)
    price[-1, :] = price[:, -1] = TOTAL
    price[-1, -1] = DEAR
    price[hide] = FREE
    price[full == 0] = 0
    price[row, column] = 0  # no edge, so that the path found goes around this cell
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
    """Return the cells to hide next: the shown total of each row and column whose hidden cells have a small sum.

    If a row or column of totals itself has such a sum, its smallest shown total is hidden instead. If the grand total is shown, the
    sum of all rows (or columns) with hidden totals is known: if their hidden cells have a small sum, the smallest of their shown
    cells is hidden.
    """
    found: list[tuple[int, int]] = []
    for turned in (False, True):
        counts, dark = (full.T, hide.T) if turned else (full, hide)
        for line, (numbers, hidden) in enumerate(zip(counts, dark, strict=True)):
            place, shown = len(numbers) - 1, np.flatnonzero(~hidden[:-1])
            if hidden[-1] or not disclosure.small(int(numbers[:-1][hidden[:-1]].sum())):
                continue
            if line == len(counts) - 1 and len(shown):
                place = int(shown[numbers[shown].argmin()])
            found.append((place, line) if turned else (line, place))
        rest = ~dark[:-1, :-1] & dark[:-1, -1:]
        if (
            not hide[-1, -1]
            and disclosure.small(int(counts[:-1, :-1][dark[:-1, :-1] & dark[:-1, -1:]].sum()))
            and rest.any()
        ):
            line, place = divmod(int(np.where(rest, counts[:-1, :-1], counts.max() + 1).argmin()), counts.shape[1] - 1)
            found.append((place, line) if turned else (line, place))
    return found
