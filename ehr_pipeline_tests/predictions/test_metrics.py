"""Figures of predictions: those of scikit-learn to 1e-9, and intervals over patients."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from ehr_pipeline.predictions import metrics
from ehr_pipeline.predictions.metrics import Bootstrap, Calibration

ROWS = st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(1, 4)), min_size=4, max_size=40).filter(
    lambda rows: len({label for label, _, _ in rows}) == 2
)


@given(ROWS)
@settings(deadline=None)
def test_figures_are_those_of_scikit_learn(rows: list[tuple[bool, int, int]]) -> None:
    """With ties and weights."""
    label, score, weight = (np.array(column) for column in zip(*rows, strict=True))
    probability, weight = score / 10.0, weight.astype(float)
    asked = label, probability, weight
    assert metrics.auroc(*asked) == pytest.approx(roc_auc_score(label, probability, sample_weight=weight), abs=1e-9)
    expected = average_precision_score(label, probability, sample_weight=weight)
    assert metrics.average_precision(*asked) == pytest.approx(expected, abs=1e-9)
    assert metrics.brier(*asked) == pytest.approx(brier_score_loss(label, probability, sample_weight=weight), abs=1e-9)


def drawn(n: int, seed: int, slope: float = 1.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Labels whose true log-odds are shift + slope times those of the probabilities."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(-1, 1.5, n)
    label = rng.random(n) < 1 / (1 + np.exp(-(shift + slope * odds)))
    return label, 1 / (1 + np.exp(-odds))


def test_recalibration_finds_what_was_planted() -> None:
    label, probability = drawn(40_000, 1, slope=0.5, shift=-0.7)
    found = metrics.recalibration(label, probability, np.ones(len(label)))
    assert found is not None
    assert (found.slope, found.intercept) == (pytest.approx(0.5, abs=0.03), pytest.approx(-0.7, abs=0.04))
    again = metrics.recalibration(label, found.apply(probability), np.ones(len(label)))
    assert again is not None
    assert again.slope == pytest.approx(1, abs=1e-3)
    assert metrics.calibration_intercept(label, found.apply(probability), np.ones(len(label))) == pytest.approx(
        0, abs=1e-3
    )
    assert metrics.brier(label, found.apply(probability), np.ones(len(label))) < metrics.brier(
        label, probability, np.ones(len(label))
    )


def test_recalibration_is_a_logistic_regression() -> None:
    label, probability = drawn(500, 2)
    weight = np.random.default_rng(0).random(500) + 0.5
    x = metrics.log_odds(probability)[:, None]
    expected = LogisticRegression(C=1e9, tol=1e-10, max_iter=1000).fit(x, label, weight)
    found = metrics.recalibration(label, probability, weight)
    assert found is not None
    assert found.slope == pytest.approx(expected.coef_[0, 0], rel=1e-4)
    assert found.intercept == pytest.approx(expected.intercept_[0], abs=1e-4)


def test_too_few_cases_are_not_recalibrated() -> None:
    label = np.arange(100) < 9
    assert metrics.recalibration(label, np.full(100, 0.2), np.ones(100)) is None
    assert metrics.recalibration(~label, np.full(100, 0.2), np.ones(100)) is None


def test_net_benefit_counts_true_and_false_alarms() -> None:
    label, probability = np.array([True, True, False, False]), np.array([0.9, 0.1, 0.6, 0.2])
    assert metrics.net_benefit(label, probability, np.ones(4), 0.5) == pytest.approx((1 - 1) / 4)
    assert metrics.net_benefit(label, probability, np.ones(4), 0.2) == pytest.approx((1 - 2 * 0.25) / 4)


def test_skill_is_nought_for_the_prevalence() -> None:
    label = np.arange(20) < 5
    assert metrics.brier_skill(label, np.full(20, 0.25), np.ones(20)) == pytest.approx(0)
    assert metrics.brier_skill(label, label.astype(float), np.ones(20)) == 1


def test_patients_are_drawn_not_rows() -> None:
    """The interval of patients with four equal rows each is that of patients, and not half as wide."""
    label, probability = drawn(300, 3)
    alone = Bootstrap(np.arange(300), np.ones(300), 1_000, 0).aurocs(label, probability)
    times = np.repeat(np.arange(300), 4)
    repeated = Bootstrap(times, np.ones(1_200), 1_000, 0).aurocs(label[times], probability[times])
    assert np.std(repeated) == pytest.approx(np.std(alone), rel=0.02)
    assert np.mean(alone) == pytest.approx(metrics.auroc(label, probability, np.ones(300)), abs=0.01)


@pytest.mark.parametrize("rows", [1, 3])
def test_slopes_in_draws_are_those_of_whole_fits(rows: int) -> None:
    """Up to a part of their spread, and just as spread: a draw takes one step of Newton's method. Patients have several rows."""
    label, probability = drawn(900 * rows, 5, slope=0.6, shift=-0.3)
    patient, weight = np.arange(900 * rows) // rows, np.random.default_rng(6).uniform(0.5, 2, 900 * rows)
    draws = Bootstrap(patient, weight, 60, 0)
    found = metrics.recalibration(label, probability, weight)
    assert found is not None
    shift = metrics.calibration_intercept(label, probability, weight)
    slopes, shifts = draws.slopes(label, probability, found), draws.intercepts(label, probability, shift)
    fits = []
    for times, slope, of_all in zip(metrics.times_drawn(900, 60, 0), slopes, shifts, strict=True):
        own = weight * times[patient]
        whole = metrics.recalibration(label, probability, own)
        assert whole is not None
        fits.append(whole.slope)
        assert slope == pytest.approx(whole.slope, abs=0.4 * np.std(slopes))
        assert of_all == pytest.approx(metrics.calibration_intercept(label, probability, own), abs=0.4 * np.std(shifts))
    assert np.std(slopes) == pytest.approx(np.std(fits), rel=0.05)


def test_a_paired_difference_is_narrower_than_its_sides() -> None:
    label, probability = drawn(400, 4)
    other = probability + np.random.default_rng(1).normal(0, 0.02, 400)
    draws = Bootstrap(np.arange(400), np.ones(400), 500, 0)
    apart = draws.aurocs(label, probability) - draws.aurocs(label, other)
    assert np.std(apart) < np.std(draws.aurocs(label, probability)) / 3
    assert metrics.two_sided(np.abs(apart) + 1) == pytest.approx(2 / 501)
    assert metrics.two_sided(np.array([-1.0, 1.0] * 50)) == 1


def test_bins_are_equally_filled() -> None:
    probability = np.random.default_rng(0).random(105)
    found = metrics.bins(probability)
    assert set(np.bincount(found)) == {10, 11}
    assert (np.diff(found[np.argsort(probability)]) >= 0).all()


def test_a_calibration_keeps_the_order() -> None:
    probability = np.linspace(0.001, 0.999, 50)
    assert (np.diff(Calibration(0.4, 1.0).apply(probability)) > 0).all()
