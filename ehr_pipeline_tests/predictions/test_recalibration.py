"""Recalibration: many cases find the error of the predictions, few change little, and the order of patients stays."""

import numpy as np
import pytest
from scipy.optimize import minimize

from ehr_pipeline.predictions import metrics, recalibration
from ehr_pipeline.predictions.metrics import Calibration
from ehr_pipeline_tests.predictions.test_metrics import drawn


def beyond(found: Calibration | None, slope: float) -> float:
    """Mean log loss, beyond that of the true risks."""
    label, probability = drawn(50_000, 7, slope=slope)
    losses = []
    for each in (found or Calibration(1.0, 0.0), Calibration(slope, 0.0)):
        after = np.clip(each.apply(probability), 1e-7, 1 - 1e-7)
        losses.append(-np.mean(np.log(np.where(label, after, 1 - after))))
    return float(losses[0] - losses[1])


@pytest.mark.parametrize("share", [None, 0.2])
def test_many_cases_find_the_error(share: float | None) -> None:
    label, probability = drawn(40_000, 1, slope=0.5, shift=-0.7)
    found = recalibration.learned(label, probability, np.ones(len(label)), share)
    assert found is not None
    assert (found.slope, found.intercept) == (pytest.approx(0.5, abs=0.03), pytest.approx(-0.7, abs=0.04))


def test_it_is_the_mode_under_the_prior() -> None:
    label, probability = drawn(60, 2)
    weight = np.random.default_rng(0).random(60) + 0.5
    x = metrics.log_odds(probability)
    now = weight * probability * (1 - probability)
    centre = (now @ x) / now.sum()

    def loss(tried: np.ndarray) -> float:
        odds = x + tried[0] + tried[1] * (x - centre)
        return float(
            weight @ np.logaddexp(0, np.where(label, -odds, odds))
            + ((tried / recalibration.USUAL_CHANGES) ** 2).sum() / 2
        )

    height, steeper = minimize(loss, np.zeros(2), tol=1e-12).x
    found = recalibration.learned(label, probability, weight)
    assert found is not None
    assert found.slope == pytest.approx(1 + steeper, abs=1e-4)
    assert found.intercept == pytest.approx(height - steeper * centre, abs=1e-4)


def test_few_cases_do_little_harm_to_right_predictions_and_help_wrong_ones() -> None:
    """Of validation sets with about 10 cases. Without a prior, right predictions lose 0.03 nats."""
    lost = {0.0: list[float](), 0.4: list[float](), 1.0: list[float]()}
    for slope, losses in lost.items():
        for seed in range(40):
            label, probability = drawn(34, seed, slope=slope)
            found = recalibration.learned(label, probability, np.ones(34))
            losses.append(beyond(found, slope))
    assert np.mean(lost[1.0]) < 0.01
    assert np.mean(lost[0.4]) < beyond(None, 0.4) / 2
    assert np.mean(lost[0.0]) < beyond(None, 0.0) / 5


def test_fewer_than_five_cases_or_others_change_nothing() -> None:
    label = np.arange(100) < 4
    assert recalibration.learned(label, np.full(100, 0.2), np.ones(100)) is None
    assert recalibration.learned(~label, np.full(100, 0.2), np.ones(100)) is None
    assert recalibration.learned(np.arange(100) < 5, np.full(100, 0.2), np.ones(100)) is not None


def test_the_order_is_never_reversed() -> None:
    label, probability = drawn(5_000, 3, slope=-1.0)
    found = recalibration.learned(label, probability, np.ones(len(label)))
    assert found is not None
    assert found.slope == 0
    assert found.apply(probability) == pytest.approx(label.mean())


def test_a_score_that_is_no_probability_may_be_far_off() -> None:
    """The share of cases in the training set says how far; the few cases of the validation set change little."""
    label, probability = drawn(60, 5)
    score = metrics.probabilities(metrics.log_odds(probability) - 6)
    found, right = (recalibration.learned(label, score, np.ones(60), share) for share in (0.32, label.mean()))
    assert found is not None
    assert right is not None
    assert right.apply(score).mean() == pytest.approx(label.mean(), abs=0.02)
    assert found.apply(score).mean() == pytest.approx((0.32 + label.mean()) / 2, abs=0.1)
    assert abs(found.intercept - 6 * found.slope) < 1
