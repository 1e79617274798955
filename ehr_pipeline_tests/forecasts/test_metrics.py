"""Measures, intervals and verdicts, against values by hand."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from ehr_pipeline.forecasts import metrics
from ehr_pipeline.forecasts.evaluate import FEWEST, Groups, verdict_of
from ehr_pipeline.forecasts.foresight_metric import Foresight
from ehr_pipeline.forecasts.metrics import ANY, NEW, RECURRING, Calibration, Tally
from ehr_pipeline.predictions.metrics import interval, times_drawn

SIZE = 30


def flags(*tokens: int) -> np.ndarray:
    made = np.zeros((1, SIZE), bool)
    made[0, list(tokens)] = True
    return made


SCORES = np.arange(SIZE, 0, -1, np.float32)[None, :]  # token 0 is the highest
HAD, TRUTH = flags(*range(0, 30, 2)), flags(2, 3, 18, 29)


def judged(name: str, scores: np.ndarray = SCORES) -> metrics.Judged:
    tally = Tally()
    tally.add({"m": scores}, metrics.allowed_of(name, HAD), TRUTH, csr_array(np.eye(SIZE, 2, dtype=np.int32)))
    return tally.done()


def test_measures_by_hand() -> None:
    new, again, every = (judged(name).measures["m"][0] for name in (NEW, RECURRING, ANY))
    # New: 1, 3, …, 19 are named, of which 3 (second place) is recorded, and 29 is not named.
    assert new.tolist() == pytest.approx([1 / 2, 1 / 10, (1 / np.log2(3)) / (1 + 1 / np.log2(3))])
    # Recurring: 0, 2, …, 18 are named: 2 at the second place, and 18 at the tenth.
    gain = 1 / np.log2(3) + 1 / np.log2(11)
    assert again.tolist() == pytest.approx([1, 2 / 10, gain / (1 + 1 / np.log2(3))])
    assert every[:2].tolist() == pytest.approx([2 / 4, 2 / 10])


def test_nothing_is_named_that_is_not_allowed() -> None:
    had, wanted = flags(4, 5), flags(6)
    tally = Tally()
    tally.add({"m": SCORES}, had, wanted | flags(4), csr_array((SIZE, 1), dtype=np.int32))
    assert tally.done().measures["m"][0].tolist() == pytest.approx([1, 0.1, 1])
    best, there = metrics.top(SCORES, had)
    assert sorted(best[there]) == [4, 5]


def test_patients_with_nothing_to_find_are_left_out() -> None:
    tally = Tally()
    tally.add({"m": SCORES}, metrics.allowed_of(NEW, HAD), flags(2), csr_array((SIZE, 1), dtype=np.int32))
    assert len(tally.done()) == 0


def test_hits_and_recorded_by_group() -> None:
    scores = -SCORES
    tally = Tally()
    groups = csr_array(np.stack([np.arange(SIZE) >= 20, np.arange(SIZE) < 20], axis=1).astype(np.int32))
    tally.add({"m": scores}, metrics.allowed_of(ANY, HAD), TRUTH, groups)
    made = tally.done()
    assert made.by_group.tolist() == [[1, 3]]
    assert made.hits["m"].tolist() == [[1, 0]]


def test_intervals_have_the_width_of_the_mean() -> None:
    values = np.random.default_rng(0).normal(size=400)
    times = times_drawn(400, 1000, 0)
    low, high = interval(metrics.averages(values, times))
    assert high - low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert low < values.mean() < high
    of = np.full(400, 2.0)
    assert metrics.averages(values, times, of) == pytest.approx(metrics.averages(values, times) / 2)


def test_calibration_counts_pairs_by_probability() -> None:
    found = Calibration()
    found.add(
        np.array([[0.0005, 0.2, 0.2, 0.9]], np.float32), np.array([[1, 1, 1, 0]], bool), np.array([[0, 1, 0, 1]], bool)
    )
    assert found.pairs.tolist() == [1, 0, 0, 0, 0, 2, 0]
    assert found.recorded.tolist() == [0, 0, 0, 0, 0, 1, 0]
    assert found.predicted[5] == pytest.approx(0.4)


def compared(difference: float, low: float, high: float, ratio: float) -> dict[str, float]:
    return {"difference": difference, "low": low, "high": high, "ratio": ratio}


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        (RECURRING, compared(0.021, 0.001, 0.04, 1.01), "better"),
        (RECURRING, compared(0.019, 0.010, 0.03, 1.5), "no better"),
        (RECURRING, compared(0.050, -0.001, 0.1, 1.1), "no better"),
        (RECURRING, compared(-0.03, -0.05, -0.001, 0.9), "worse"),
        (NEW, compared(0.03, 0.01, 0.05, 1.15), "better"),
        (NEW, compared(0.03, 0.01, 0.05, 1.14), "no better"),
    ],
)
def test_a_verdict_asks_for_an_interval_above_zero_and_a_difference_that_counts(
    name: str, values: dict[str, float], expected: str
) -> None:
    assert verdict_of(name, FEWEST, values) == expected
    assert verdict_of(name, FEWEST - 1, values) == "too few"


def test_groups_of_frequency_hold_a_third_of_what_was_recorded_each() -> None:
    types = [(), ("a",), ("a", "b"), ("b",), ("c",)]
    made = Groups.of(types, np.array([0, 60, 30, 5, 5]))
    members = made.members.toarray()
    assert made.names == ("a", "b", "c", "most frequent third", "middle third", "rarest third")
    assert members[2, :3].tolist() == [1, 1, 0]
    assert members[:, 3:].argmax(1).tolist()[1:] == [0, 1, 2, 2]
    assert made.of_type.tolist() == [3, 0, 0, 1, 2]


def test_foresights_metric_by_hand() -> None:
    """Type and status of the answer are given, and any of ten within a year will do."""
    of_type = np.arange(SIZE) % 2
    found = Foresight()
    year = flags(4, 6)
    found.add({"m": SCORES}, flags(2), flags(2, 4, 5), year, of_type)
    assert found.labels == {NEW: 2, RECURRING: 1}
    # Recurring, type 0: only 2 may be named, and it is not recorded within the year given. New, type 0: 4 is among the ten named;
    # of type 1 nothing is recorded.
    assert found.found == {(NEW, "m"): 1, (RECURRING, "m"): 0}
