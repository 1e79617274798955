import numpy as np
import pytest

from ehr_pipeline.disclosure.suppression import Disclosure

RULE = Disclosure(below=10)


@pytest.mark.parametrize(("count", "shown"), [(0, "0"), (1, "<10"), (9, "<10"), (10, "10"), (12345, "12,345")])
def test_counts(count: int, shown: str) -> None:
    assert RULE.show(count) == shown


def test_a_name_from_the_data_needs_enough_who_bear_it() -> None:
    assert [count for count in range(20) if not RULE.named(count)] == list(range(10))


def test_a_group_needs_as_many_patients_as_a_count() -> None:
    assert RULE.large_enough(np.array([0, 9, 10, 11])).tolist() == [False, False, True, True]


def test_shares_are_left_out_where_a_number_is_small() -> None:
    assert RULE.share(20, 40) == "50.0 %"
    assert RULE.share(0, 40) == "0.0 %"
    assert RULE.share(40, 40) == "100.0 %"
    assert RULE.share(99_960, 100_000) == ">99.9 %", "not all: 40 are left out"
    assert RULE.share(99_940, 100_000) == "99.9 %"
    assert RULE.share(5, 40) == RULE.share(5, 8) == RULE.share(0, 8) == RULE.share(0, 0) == "–"


def test_what_is_left_of_a_total_is_guarded_too() -> None:
    assert RULE.show(221, 222) == ">212"
    assert RULE.show(212, 222) == "212"
    assert RULE.show(222, 222) == "222"
    assert RULE.share(221, 222) == ">95 %"
    assert RULE.share(10, 10) == "100.0 %"
    assert RULE.share(10, 11) == ">9 %"


def test_nested_numbers_of_patients_that_differ_by_few_are_rounded() -> None:
    assert not RULE.nested_need_rounding([5000, 2000, 2000, 1980])
    assert RULE.nested_need_rounding([5000, 2003, 2000])
    assert RULE.about(2003) == "about 2,000"
    assert RULE.about(2005) == "about 2,010"
    assert RULE.about(3) == "<10"
    assert RULE.about(0) == "0"


def test_coarse_shares_have_steps_of_as_many_patients_as_must_not_be_told_of() -> None:
    assert RULE.coarse(437, 2000) == "about 22 %"
    assert RULE.coarse(33, 50) == RULE.coarse(25, 50) == "50–68 %"
    assert RULE.coarse(3, 5) == RULE.coarse(0, 0) == RULE.coarse(16, 16) == "–"
    assert RULE.coarse(19, 20) == ">50 %"
    assert RULE.coarse(35, 35) == RULE.coarse(26, 35) == ">71 %"
    assert RULE.coarse(0, 2000) == RULE.coarse(9, 2000) == "<1 %"
    assert RULE.coarse(1437, 2000) == "about 72 %", "of 1,440, as about() tells"
    assert RULE.coarse(15, 15) == "–", "no share in steps of more than half is one"


@pytest.mark.parametrize("below", [1, 5, 10])
def test_the_truth_lies_within_what_a_share_of_rounded_counts_says(below: int) -> None:
    rule = Disclosure(below)
    for of in (60, 230, 2000):
        texts = {rule.part(of - few, of) for few in range(below)}
        assert len(texts) == 1, "any small rest gives the same text"
        low, high = bounds(texts.pop())
        assert 90 * (1 - below / of) < low <= 100 * (of - below + 1) / of
        assert high >= 100
    assert RULE.part(437, 2000) == "about 22 %"
    assert Disclosure(1).part(437, 2000) == "22 %"


def bounds(text: str) -> tuple[float, float]:
    """What a share may be by its text, in percent."""
    if text.startswith("about") or (text[0].isdigit() and "–" not in text):
        value = float(text.removeprefix("about ").split()[0])
        return value - 0.5, value + 0.5
    if text[0] in "<>":
        value = float(text[1:-2])
        return (0, value) if text[0] == "<" else (value, 100)
    low, high = text.removesuffix(" %").split("–")
    return float(low), float(high)


@pytest.mark.parametrize("below", [1, 5, 7, 10])
def test_the_truth_lies_within_what_a_coarse_share_says(below: int) -> None:
    rule = Disclosure(below)
    for of in (20, 23, 51, 230, 2000):
        for count in range(of + 1):
            low, high = bounds(rule.coarse(count, of))
            assert low <= 100 * count / of <= high
            if rule.small(count) or rule.small(of - count):
                assert high - low >= 100 * (below - 1) / of, "any small number gives the same text"


def test_what_a_group_is_made_of_tells_no_count_that_a_table_hides() -> None:
    """One missing patient more or less changes nothing, nor does the count of a small category."""
    told = RULE.composition({"a": 1437, "b": 540, "c": 17, "d": 6}, 2000)
    assert told == [("a", "about 72 %"), ("b", "about 27 %"), ("c", "about 1 %")]
    assert told == RULE.composition({"a": 1438, "b": 541, "c": 18, "d": 3}, 2000)
    bounds = [RULE.composition({"a": 230 - few, "b": few}, 230) for few in range(10)]
    assert bounds == [[("a", ">95 %")]] * 10
    assert RULE.composition({"a": 10}, 10) == [("a", "–")]
    assert Disclosure(1).composition({"a": 3, "b": 1}, 4) == [("a", "about 75 %"), ("b", "about 25 %")]


def test_a_disease_that_the_table_of_concepts_tells_exactly_has_the_same_share_as_there() -> None:
    """36 of 51 are 70.6 %; rounded to 40 they were called about 78 %."""
    made_of = {"a": 36, "b": 15}
    assert RULE.composition(made_of, 51, {"a": 36}) == [("a", "70.6 %"), ("b", "29–48 %")]
    assert RULE.composition(made_of, 51, {"a": 37}) == [("a", "68–81 %"), ("b", "29–48 %")], (
        "other patients, other number"
    )
    assert RULE.composition({"a": 75}, 75, {"a": 75}) == [("a", "100.0 %")]
    assert RULE.composition({"a": 36, "b": 12, "c": 3}, 51, {"a": 36})[0] == ("a", "68–81 %"), (
        "the rest would tell of c"
    )
