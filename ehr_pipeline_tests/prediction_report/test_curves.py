"""Learning curves, and how many labels of counting the labels of a model are worth."""

import math
from dataclasses import replace

import numpy as np
import pytest

from ehr_pipeline.prediction_report import statements
from ehr_pipeline.prediction_report.curves import ALL, NONE, Point, Z, curves, labels_saved, selected, usual
from ehr_pipeline.predictions.table import empty
from ehr_pipeline_tests.prediction_report.invented import ALL as EVERY
from ehr_pipeline_tests.prediction_report.invented import Curve, results, rising

BASELINES: dict[str, Curve | float] = {"counts": rising(0.60, 0.08), "history": 0.55}


def test_labels_are_worth_what_the_baseline_needs_for_as_much() -> None:
    """With 100 labels 0.76; counts have 0.60 with ten and 0.08 more with each ten times as many: 0.76 with 1,000."""
    found = curves(results(["a", "b"], {**BASELINES, "vectors": rising(0.70, 0.06)}))
    assert found is not None
    assert found.labels == (10, 100, 500)
    assert usual(found) == 100
    made = labels_saved(found, 100)
    assert made is not None
    assert (made.model, made.baseline, made.verdict) == ("vectors", "counts", "better")
    assert made.difference == pytest.approx(0.08)
    assert made.equals == pytest.approx(1_000, rel=1e-6)
    assert made.low == pytest.approx(10 ** (3 - Z * made.error / 0.08), rel=1e-6)
    assert made.error == pytest.approx(0.02 / (2 * Z), rel=1e-6)


def test_a_model_that_all_labels_do_not_reach_and_one_that_ten_do() -> None:
    found = curves(results(["a"], {**BASELINES, "vectors": rising(0.90, 0.0), "masked": 0.50}))
    assert found is not None
    made = labels_saved(found, 100)
    assert made is not None
    assert math.isinf(made.equals)
    assert found.labels_for(found.points["masked"][NONE].value) == 10
    assert found.all == EVERY


def test_a_model_without_labels_stands_beside_those_with_any_number() -> None:
    found = curves(results(["a"], {**BASELINES, "masked": 0.70, "vectors": rising(0.50, 0.12)}))
    assert found is not None
    best = [found.best("model", number) for number in (10, 100, ALL)]
    assert [each[0] if each else "" for each in best] == ["masked", "masked", "vectors"]
    assert labels_saved(found, 10).model == "masked"  # type: ignore[union-attr]


@pytest.mark.parametrize(("first", "verdict"), [(0.66, "worse"), (0.683, "level"), (0.70, "better")])
def test_the_verdict_is_that_of_the_interval(first: float, verdict: str) -> None:
    """The baseline has 0.68 with 100 labels; the interval is 0.01 to either side."""
    found = curves(results(["a", "b"], {**BASELINES, "masked": first}))
    assert found is not None
    made = labels_saved(found, 100)
    assert made is not None
    assert made.verdict == verdict


@pytest.mark.parametrize("true", [-0.5, 0.5, 1.0, 3.0])
def test_an_interval_that_is_told_only_of_a_better_model_holds_the_true_difference(true: float) -> None:
    """In standard errors. At 0.5, where one in 14 models is found to be better, the usual interval misses in a third of these."""
    drawn = np.random.default_rng(3).normal(true, 1, 40_000)
    told = drawn[drawn > Z][:2_000]
    ends = np.array([selected(each, 1.0) for each in told.tolist()])
    assert ((ends[:, 0] <= true) & (true <= ends[:, 1])).mean() == pytest.approx(0.95, abs=0.025)
    if true == 0.5:
        assert (np.abs(told - true) > Z).mean() > 0.09


def test_a_difference_beyond_doubt_has_the_usual_interval() -> None:
    assert selected(0.8, 0.1) == (pytest.approx(0.8 - Z * 0.1, abs=1e-3), pytest.approx(0.8 + Z * 0.1, abs=1e-3))


def test_tasks_that_lack_a_number_of_labels_are_left_out_of_all_points() -> None:
    """Otherwise a curve falls where a difficult task comes in."""
    whole = results(["a", "b", "c"], {**BASELINES, "vectors": rising(0.70, 0.06)})
    fewer = tuple(row for row in whole.results if (row["task"], row["labels"]) != ("c", 500))
    found = curves(replace(whole, results=fewer))
    assert found is not None
    assert (found.tasks, found.labels, found.left_out) == (("a", "b"), (10, 100, 500), 1)
    assert "too few labels for one of these numbers: 1 scored task." in str(statements.curve(found))
    fewer = tuple(row for row in whole.results if row["task"] == "a" or row["labels"] != 500)
    found = curves(replace(whole, results=fewer))
    assert found is not None
    assert (found.tasks, found.labels, found.left_out) == (("a", "b", "c"), (10, 100), 0)
    assert "Left out of the curves" not in str(statements.curve(found))


@pytest.mark.parametrize(("common", "own", "lucky"), [(0.02, 0.0, 0.01), (0.01, 0.02, 0.02), (0.0, 0.01, 0.04)])
def test_the_error_counts_each_source_of_chance_once(common: float, own: float, lucky: float) -> None:
    """Patients of the test set move all samples of labels together (`common`) and each by itself (`own`); samples are lucky."""
    rng, squares, of_labels = np.random.default_rng(0), [], 5
    for _ in range(300):
        samples = common * rng.normal() + np.hypot(own, lucky) * rng.normal(size=of_labels)
        deviations = common * rng.normal(size=(1, 256)) + own * rng.normal(size=(of_labels, 256))
        squares.append(Point(samples, deviations).error ** 2)
    assert np.mean(squares) == pytest.approx(common**2 + (own**2 + lucky**2) / of_labels, rel=0.12)


@pytest.mark.parametrize(("shifted", "error"), [({"vectors"}, 0.03 / np.sqrt(3)), ({"vectors", "counts"}, 0.0)])
def test_bands_hold_samples_of_labels(shifted: set[str], error: float) -> None:
    """A sample that favours both sides alike says nothing of their difference."""
    whole = results(["a"], {**BASELINES, "vectors": rising(0.70, 0.06)}, width=0.0)
    rows = tuple(
        {**row, "auroc": row["auroc"] + (row["replicate"] - 1) * 0.03}
        if row["labels"] == 100 and row["model"] in shifted
        else row
        for row in whole.results
    )
    found = curves(replace(whole, results=rows))
    assert found is not None
    point = found.points["vectors"][100]
    assert point.value == pytest.approx(0.76)
    assert point.error == pytest.approx(np.sqrt(0.03**2 / 3))
    made = labels_saved(found, 100)
    assert made is not None
    assert made.error == pytest.approx(error)
    assert found.points["vectors"][ALL].error == 0


@pytest.mark.parametrize("baselines", [{}, {"rule_of_thumb": rising(0.55, 0.02)}])
def test_a_missing_point_is_explained(baselines: dict[str, Curve | float]) -> None:
    """Of boosting, below 100 labels."""
    found = curves(results(["a"], {**BASELINES, **baselines, "masked": 0.7}))
    assert found is not None
    assert ("no point below 100 labels" in str(statements.curve(found))) == bool(baselines)


def test_nothing_was_scored() -> None:
    assert curves(empty()) is None
    assert curves(results(["a"], {**BASELINES, "masked": 0.7}, model_auroc=None)) is None
