import numpy as np
import pytest

from ehr_pipeline.reports.disclosure import Disclosure

RULE = Disclosure(below=10)


@pytest.mark.parametrize(("count", "shown"), [(0, "0"), (1, "<10"), (9, "<10"), (10, "10"), (12345, "12,345")])
def test_counts(count: int, shown: str) -> None:
    assert RULE.show(count) == shown


def test_shares_are_left_out_where_a_number_is_small() -> None:
    assert RULE.share(20, 40) == "50.0 %"
    assert RULE.share(0, 40) == "0.0 %"
    assert RULE.share(40, 40) == "100.0 %"
    assert RULE.share(5, 40) == RULE.share(5, 8) == RULE.share(0, 8) == RULE.share(0, 0) == "–"


def test_what_is_left_of_a_total_is_guarded_too() -> None:
    assert RULE.show(221, 222) == ">212"
    assert RULE.show(212, 222) == "212"
    assert RULE.show(222, 222) == "222"
    assert RULE.share(221, 222) == ">95 %"
    assert RULE.share(10, 10) == "100.0 %"
    assert RULE.share(10, 11) == ">9 %"


def test_rare_categories_are_merged() -> None:
    values = np.array(["a"] * 50 + ["b"] * 20 + ["c"] * 6 + ["d"] * 5)
    assert dict(zip(*np.unique(RULE.merge_rare(values), return_counts=True), strict=True)) == {
        "a": 50,
        "b": 20,
        "other": 11,
    }


def test_one_rare_category_takes_the_smallest_other_with_it() -> None:
    values = np.array(["a"] * 50 + ["b"] * 20 + ["c"] * 3)
    assert dict(zip(*np.unique(RULE.merge_rare(values), return_counts=True), strict=True)) == {"a": 50, "other": 23}
    plain = np.array(["a"] * 50 + ["b"] * 20)
    assert RULE.merge_rare(plain) is plain
