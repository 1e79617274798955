"""Nobody who knows all that a table of patients shows, its totals too, can reckon a count that is hidden."""

import numpy as np
import pytest
from scipy.optimize import linprog

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.disclosure.tabulate import hidden, with_totals

RULE = Disclosure(below=10)


def bounds(full: np.ndarray, hide: np.ndarray, *cells: tuple[int, int]) -> tuple[float, float]:
    """What an attacker can say of the sum of hidden cells: its least and largest value, from all sums (linear programming)."""
    size = len(full)
    place = {(int(r), int(c)): number for number, (r, c) in enumerate(np.argwhere(hide))}
    sums, known = [], []
    for turned in (False, True):
        for line in range(size):
            left, right = np.zeros(len(place)), 0
            for other in range(size):
                cell = (other, line) if turned else (line, other)
                sign = -1 if other == size - 1 else 1
                if hide[cell]:
                    left[place[cell]] += sign
                else:
                    right -= sign * full[cell]
            sums.append(left)
            known.append(right)
    target = np.zeros(len(place))
    target[[place[cell] for cell in cells]] = 1
    found = [linprog(sign * target, A_eq=np.array(sums), b_eq=known, bounds=(0, 1e6)) for sign in (1, -1)]
    return found[0].fun, -found[1].fun


@pytest.mark.parametrize("seed", range(12))
def test_no_small_count_can_be_reckoned(seed: int) -> None:
    rng = np.random.default_rng(seed)
    size = int(rng.integers(2, 7))
    counts = rng.poisson(rng.choice([0, 2, 8, 30, 200], (size, size)))
    full, hide = with_totals(counts), hidden(counts, RULE)
    small = (full > 0) & (full < 10)
    assert hide[small].all()
    for row, column in np.argwhere(small):
        assert hide[full == 0].all()
        least, most = bounds(full, hide, (int(row), int(column)))
        assert most - least > 2, (counts, row, column)


def test_without_the_second_step_the_attack_succeeds() -> None:
    counts = np.array([[50, 3, 20], [30, 40, 60], [70, 80, 90]])
    full = with_totals(counts)
    assert bounds(full, full < 10, (0, 1)) == pytest.approx((3, 3))
    hide = hidden(counts, RULE)
    assert hide.sum() > 1
    assert hide[0, 1]
    assert not hide[-1, -1]


def test_what_is_large_is_shown() -> None:
    assert hidden(np.array([[50, 0], [30, 40]]), RULE).tolist() == [[False, True, False], [False] * 3, [False] * 3]


def test_hidden_cells_of_a_line_do_not_add_up_to_a_small_number() -> None:
    counts = np.array([[3, 4, 100, 100], [4, 3, 100, 100], [100] * 4, [100] * 4])
    hide = hidden(counts, RULE)
    full = with_totals(counts)
    for line in (0, 1):
        for cells in ([(line, 0), (line, 1)], [(0, line), (1, line)]):
            least, most = bounds(full, hide, *cells)
            assert most - least > 10
    assert np.argwhere(hide).tolist() == [[i, j] for i in (0, 1) for j in (0, 1, 4)] + [[4, 0], [4, 1]], (
        "totals are hidden rather than further cells"
    )


def all_but(shown: np.ndarray) -> list[tuple[int, int]]:
    """The hidden cells of the table, without its totals."""
    return [(int(row), int(column)) for row, column in np.argwhere(~shown[:-1, :-1])]


def test_all_hidden_cells_together_are_no_small_number() -> None:
    """As where nearly everybody stays in one cluster: 192 in all, less 187 who stay, were the five others."""
    counts = np.array([[187, 0, 1], [1, 1, 1], [0, 0, 1]])
    hide = hidden(counts, RULE)
    assert hide[0, 0] or hide[-1, -1]
    rng = np.random.default_rng(0)
    for size in (2, 3, 4, 5):
        for _ in range(10):
            counts = rng.poisson(rng.choice([0, 0.1, 1, 40], (size, size)))
            full, hide = with_totals(counts), hidden(counts, RULE)
            cells = all_but(~hide)
            if cells and 0 < sum(full[cell] for cell in cells) < 10:
                least, most = bounds(full, hide, *cells)
                assert most - least > 2, counts


def test_a_table_of_one_cell_shows_nothing() -> None:
    assert hidden(np.array([[4]]), RULE).all()
