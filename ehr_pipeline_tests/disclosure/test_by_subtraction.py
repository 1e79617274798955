"""Small counts in the tables of concepts, attacked with all that a page tells: totals, sizes, and the texts of hidden cells."""

import numpy as np
import pytest

from ehr_pipeline.disclosure.by_subtraction import elsewhere, hidden
from ehr_pipeline.disclosure.suppression import Disclosure

RULE = Disclosure(10)


def text(count: int, size: int) -> str:
    """What a card says of the number of patients of a hidden cell."""
    return RULE.show(count, size) if RULE.small(count) or RULE.small(size - count) else RULE.about(count)


def bounds(count: int, size: int) -> tuple[int, int]:
    """The numbers that would have been told by the same text."""
    same = [other for other in range(size + 1) if text(other, size) == text(count, size)]
    return same[0], same[-1]


@pytest.mark.parametrize("seed", range(20))
def test_an_attacker_with_totals_and_texts_cannot_narrow_a_small_count(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = rng.integers(12, 200, 5)
    few_have = np.minimum(rng.poisson(rng.choice([2, 8, 30, 150], (5, 150))), sizes[:, None])
    counts = np.where(rng.random(few_have.shape) < 0.3, sizes[:, None] - few_have, few_have)
    listed = rng.random(counts.shape) < 0.7
    shown = listed & ~hidden(counts, sizes, listed, RULE)
    assert shown.any()
    attacked = 0
    for column, visible, in_table in zip(counts.T, shown.T, listed.T, strict=True):
        if not visible.any():
            continue
        dark = np.flatnonzero(~visible)
        total = column[dark].sum()
        ranges = np.array(
            [bounds(column[k], sizes[k]) if in_table[k] else (0, sizes[k]) for k in dark.tolist()], int
        ).reshape(-1, 2)
        for (low, high), place in zip(ranges.tolist(), dark.tolist(), strict=True):
            count, size = int(column[place]), int(sizes[place])
            if RULE.small(count) or RULE.small(size - count):
                attacked += 1
                fewest = max(low, total - (ranges[:, 1].sum() - high))
                most = min(high, total - (ranges[:, 0].sum() - low))
                assert most - fewest >= (high - low if in_table[place] else 9), (count, size, fewest, most)
    assert attacked > 50, "otherwise this tests nothing"
    small = (counts > 0) & (counts < 10)
    few_lack = (sizes[:, None] - counts > 0) & (sizes[:, None] - counts < 10)
    assert not (shown & (small | few_lack)).any()
    elsewhere_have = counts.sum(0) - counts
    elsewhere_lack = (sizes.sum() - sizes)[:, None] - elsewhere_have
    for others in (elsewhere_have, elsewhere_lack):
        assert not (shown & (others > 0) & (others < 10)).any(), "a shown cell also states the number elsewhere"


def test_few_patients_elsewhere_who_lack_a_concept_hide_the_cell() -> None:
    counts, sizes = np.array([[20], [95], [100]]), np.array([100, 100, 100])
    assert hidden(counts, sizes, np.ones_like(counts, bool), RULE)[0, 0], "5 of 200 elsewhere lack it"


def test_that_one_patient_lacks_a_concept_cannot_be_reckoned() -> None:
    """Shown cells tell the total; two clusters without a shown cell hold 44 of 25 + 20 patients: one of the 25 lacks it."""
    counts = np.array([[914], [762], [65], [24], [20], [21]])
    sizes = np.array([9140, 7620, 650, 25, 20, 210])
    dark = hidden(counts, sizes, np.ones_like(counts, bool), RULE)[:, 0]
    assert dark[3]
    assert dark.sum() > 2, "more than those two, whose sum would tell"


def test_without_anything_small_nothing_is_hidden() -> None:
    counts = np.array([[40, 60], [50, 90]])
    assert not hidden(counts, np.array([100, 200]), np.ones_like(counts, bool), RULE).any()


def test_where_nothing_can_stand_in_for_a_cell_the_concept_is_hidden() -> None:
    counts, sizes = np.array([[60], [5], [0]]), np.array([100, 100, 100])
    assert hidden(counts, sizes, np.ones_like(counts, bool), RULE)[:2].all()


@pytest.mark.parametrize("seed", range(20))
def test_the_shares_elsewhere_beside_hidden_cells_do_not_narrow_them(seed: int) -> None:
    """A shown cell tells a concept's total; the share elsewhere, taken off it, told how many patients a hidden cell holds."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(30, 1000, 5)
    few_have = np.minimum(rng.poisson(rng.choice([2, 8, 30, 150], (5, 150))), sizes[:, None])
    counts = np.where(rng.random(few_have.shape) < 0.3, sizes[:, None] - few_have, few_have)
    listed = rng.random(counts.shape) < 0.7
    shown = listed & ~hidden(counts, sizes, listed, RULE)
    attacked = 0
    for column, visible, in_table in zip(counts.T, shown.T, listed.T, strict=True):
        total = int(column.sum())
        for place in np.flatnonzero(in_table & ~visible).tolist():
            count, size, others = int(column[place]), int(sizes[place]), int(sizes.sum() - sizes[place])
            told = elsewhere(column, place, sizes, RULE, listed=in_table, shown=visible)
            if told is None or not count:
                continue
            percent = RULE.between(*told, others)
            low, high = bounds(count, size)
            same = [n for n in range(low, high + 1) if 0 <= total - n <= others and told[0] <= total - n <= told[1]]
            assert same == [n for n in range(low, high + 1) if 0 <= total - n <= others], (count, size, told)
            assert percent == "–" or told[0] <= total - count <= told[1]
            attacked += RULE.small(count) or RULE.small(size - count)
    assert attacked > 50, "otherwise this tests nothing"


def test_a_share_elsewhere_that_two_clusters_tell_says_nothing_about_the_smaller_count() -> None:
    """All 96 of one cluster have it and 22 others, 118 in all; of 978 in another cluster, 2 have it: 116 of 1,706 elsewhere."""
    column, sizes = np.array([96, 2, 20]), np.array([96, 978, 1610])
    listed = np.array([True, True, False])
    told = elsewhere(column, 1, sizes, RULE, listed=listed, shown=np.array([True, False, False]))
    assert told == (109, 117)
    assert RULE.between(*told, 1706) == "6–7 %"
