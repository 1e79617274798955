"""Patients with several diseases: each in one column, and no small count in what is shown."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.several_diseases import OTHERS, draw, overlap
from ehr_pipeline.reports.statements import several_diseases as say

GROUPS = {(1, "a"): 100, (1, "ab"): 50, (1, "abc"): 4, (2, "b"): 60, (2, "ba"): 20, (2, "ac"): 14, (3, "ab"): 8}


def patients(groups: dict[tuple[int, str], int]) -> tuple[list[Sequence[str]], np.ndarray]:
    """The diseases (one letter each) and the clusters of as many patients as are told."""
    diseases = [list(letters) for (_, letters), count in groups.items() for _ in range(count)]
    return diseases, np.array([number for (number, _), count in groups.items() for _ in range(count)])


def test_every_patient_is_in_one_column() -> None:
    found = overlap(*patients(GROUPS), Disclosure(1))
    assert found is not None
    assert found.sets == (("a",), ("b",), ("a", "b"), ("a", "c"), ("a", "b", "c"))
    assert found.patients == (100, 60, 78, 14, 4)
    assert found.numbers == (1, 2, 3)
    assert found.shares.sum(axis=1) == pytest.approx([1, 1, 1])
    assert found.shares[1] == pytest.approx([0, 60 / 94, 20 / 94, 14 / 94, 0])
    assert found.together == pytest.approx([54 / 154, 34 / 94, 1])
    assert (found.several, found.of) == (96, 256)


def test_small_counts_are_empty_as_zeros_are() -> None:
    found = overlap(*patients(GROUPS), Disclosure(10))
    assert found is not None
    assert found.numbers == (1, 2), "a cluster of 8 patients has no row"
    assert found.sets == (("a",), ("b",), ("a", "b"), OTHERS)
    assert found.shares.tolist() == [[100 / 150, 0, 50 / 150, 0], [0, 60 / 90, 20 / 90, 0]]
    assert found.together.tolist() == [50 / 150, 30 / 90]
    assert overlap(*patients({(1, "a"): 50, (1, "ab"): 14}), Disclosure(10)) is None


@given(
    st.dictionaries(st.tuples(st.integers(1, 3), st.sampled_from(["a", "b", "ab", "ac", "abc"])), st.integers(1, 60))
)
@settings(deadline=None, max_examples=60)
def test_the_rest_of_an_exact_number_is_never_told_to_be_small(groups: dict[tuple[int, str], int]) -> None:
    """A card may tell exactly how many of a cluster's patients have a disease: less those who have it alone, others are left.

    Whoever knows that number and the picture must be able to believe that nobody, or enough, are left.
    """
    below = 10
    found = overlap(*patients(groups), Disclosure(below))
    if found is None:
        return
    for row, number in enumerate(found.numbers):
        size = Disclosure(below).rounded(sum(count for (own, _), count in groups.items() if own == number))
        for column, each in enumerate(found.sets):
            if len(each) == 1:
                shown = round(found.shares[row, column] * size)
                exact = sum(count for (own, letters), count in groups.items() if own == number and each[0] in letters)
                alone = groups.get((number, each[0]), 0)
                low, high = (0, 3 * below // 2 - 1) if not shown else (shown - below // 2, shown + below // 2 - 1)
                assert low <= alone <= high or shown == size
                least, most = exact - min(high, exact), exact - low
                assert least == 0 or most >= below


def test_the_picture_has_words(tmp_path: Path, drawn: list[Any]) -> None:
    found = overlap(*patients(GROUPS), Disclosure(10))
    assert found is not None
    draw(tmp_path / "x.png", found)
    upper, lower = drawn
    assert [text.get_text() for text in upper.texts] == [
        "67",
        "33",
        "33",
        "67",
        "22",
        "33",
        "38",
        "23",
        "31",
        "8",
        "38",
    ]
    assert [label.get_text() for label in lower.get_yticklabels()] == ["a", "b"]
    told = str(say.several(found, Disclosure(10)))
    assert told.startswith("About 100 of about 260 patients have several")
    assert "a with b (about 80 patients)" in told
    alt = say.alt(found, Disclosure(10))
    assert "cluster 1: a 67 %, a with b 33 %, several diseases 33 %; cluster 2" in alt
    assert "<" not in alt
    assert "empty cell" in str(say.explained(Disclosure(10)))
    assert "empty cell" not in str(say.explained(Disclosure(1)))
