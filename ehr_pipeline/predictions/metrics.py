"""Measures of predictions of a binary outcome, with intervals over patients. Axes: n rows, B bootstrap draws of patients.

Readers of results import this module, so it does not load SciPy, and loads scikit-learn only for recalibration.

Every function takes labels (n,) as flags, scores or probabilities (n,), and weights (n,). Weights differ from 1 only to correct for
patients who left."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
BINS = 10
_BLOCK = 4_000_000
"""Numbers held at once while draws are evaluated."""
_IN_CACHE = 1 << 17
"""Numbers held at once for AUROCs: they stay in the processor's cache, which saves a third of the time."""
_NEAREST = 1e-7
"""Probabilities are kept at least this far from 0 and 1 before taking log-odds."""


def auroc(label: Flags, score: Floats, weight: Floats) -> float:
    """Return the area under the ROC curve: the chance that a case scores higher than a non-case; ties count half. NaN without
    cases, or without non-cases."""
    once = np.ones((1, len(label)), np.uint8)
    return float(_aurocs(label, score, weight, np.arange(len(label)), once)[0])


def influence(label: Flags, score: Floats, weight: Floats) -> Floats:
    """How much each row (n,) moves the AUROC: its change, in first order, if the row counted once more (DeLong 1988).

    The values sum to 0, and the sum of the squares of patients' sums estimates the variance of the AUROC. NaN without cases or
    non-cases.
    """
    values, place = np.unique(score, return_inverse=True)
    cases, others = (np.bincount(place, weight * side, len(values)) for side in (label, ~label))
    below, above = np.cumsum(others) - others / 2, cases.sum() - np.cumsum(cases) + cases / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        beaten = np.where(label, (below / others.sum())[place], (above / cases.sum())[place])
        whole = float((cases * below).sum() / (cases.sum() * others.sum()))
        moved: Floats = weight * (beaten - whole) / np.where(label, cases.sum(), others.sum())
    return moved


def average_precision(label: Flags, score: Floats, weight: Floats) -> float:
    """Return the average precision, Σ (R_k − R_{k−1}) P_k over distinct scores from the highest, as in scikit-learn. NaN without a
    case."""
    values, place = np.unique(-score, return_inverse=True)
    cases = np.cumsum(np.bincount(place, weight * label, len(values)))
    everybody = np.cumsum(np.bincount(place, weight, len(values)))
    if not len(values) or cases[-1] <= 0:
        return float("nan")
    return float((np.diff(cases, prepend=0) / cases[-1]) @ (cases / everybody))


def brier(label: Flags, probability: Floats, weight: Floats) -> float:
    """Return the weighted mean of the squared error of the probabilities (Brier 1950)."""
    return float(np.average((probability - label) ** 2, weights=weight))


def brier_skill(label: Flags, probability: Floats, weight: Floats) -> float:
    """Return the Brier skill score, 1 − Brier / Brier of the prevalence: 0 is no better than the prevalence for everybody. NaN
    without cases or non-cases."""
    share = float(np.average(label, weights=weight))
    return 1 - brier(label, probability, weight) / (share * (1 - share)) if 0 < share < 1 else float("nan")


@dataclass(frozen=True)
class Calibration:
    """Probability p' with logit p' = intercept + slope · logit p (Platt 1999)."""

    slope: float
    intercept: float

    def apply(self, probability: Floats) -> Floats:
        """Return the recalibrated probabilities (n,)."""
        return probabilities(self.intercept + self.slope * log_odds(probability))


def log_odds(probability: Floats) -> Floats:
    """Return the log-odds (n,) of probabilities, after clipping them away from 0 and 1."""
    kept = np.clip(probability, _NEAREST, 1 - _NEAREST)
    return np.log(kept) - np.log1p(-kept)


def probabilities(odds: Floats) -> Floats:
    """Return probabilities (n,) of log-odds."""
    return 1 / (1 + np.exp(-np.clip(odds, -700, 700)))


def recalibration(label: Flags, probability: Floats, weight: Floats) -> Calibration | None:
    """Return the slope and intercept of a logistic regression of the labels on the log-odds; None without ten cases and ten others.

    In the test set the slope is the calibration slope: below 1 where predictions are too extreme (Cox 1958).
    """
    from ehr_pipeline.predictions.learners import ridge  # not above: readers of results load no scikit-learn

    if min(label.sum(), (~label).sum()) < BINS:
        return None
    x = log_odds(probability)
    centre, spread = float(x.mean()), float(x.std())
    if spread < 1e-9:
        return Calibration(1.0, calibration_intercept(label, probability, weight))
    (weight_of_x,), intercept = ridge((x[:, None] - centre) / spread, label, weight, 1e6)
    slope = float(weight_of_x) / spread
    return Calibration(slope, intercept - slope * centre)


def calibration_intercept(label: Flags | Floats, probability: Floats, weight: Floats) -> float:
    """Return calibration in the large: the constant that makes the predicted number of cases equal to the observed number (Van
    Calster 2019). Labels may also be shares.

    The constant is added to the log-odds, and found by Newton's method. It is below 0 if predictions are too high. NaN without
    cases or non-cases.
    """
    if not 0 < label.sum() < len(label):
        return float("nan")
    x, shift, cases = log_odds(probability), 0.0, float((weight * label).sum())
    for _ in range(50):
        now = probabilities(x + shift)
        step = (cases - float((weight * now).sum())) / max(float((weight * now * (1 - now)).sum()), 1e-12)
        shift += float(np.clip(step, -2, 2))
        if abs(step) < 1e-10:
            break
    return shift


def net_benefit(label: Flags, probability: Floats, weight: Floats, threshold: float) -> float:
    """Return the net benefit, (TP − FP · t / (1 − t)) / n, if everybody with a probability of at least t (`threshold`) is treated
    (Vickers & Elkin 2006)."""
    treated = probability >= threshold
    gain = np.where(label, 1.0, -threshold / (1 - threshold)) * treated
    return float(np.average(gain, weights=weight))


def bins(probability: Floats) -> NDArray[np.int64]:
    """Return the index (n,) of each row's bin, from 0. There are BINS bins with equally many rows, in order of the probability."""
    order = np.argsort(probability, kind="stable")
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order)) * BINS // max(len(order), 1)
    return places


def times_drawn(people: int, draws: int, seed: int) -> NDArray[np.uint8]:
    """Return how often each of P people is in each of B draws with replacement (B, P), at most 255 times (Efron 1979)."""
    rng = np.random.default_rng([seed, 0xB007])
    drawn = np.empty((draws, people), np.uint8)
    for times in drawn:
        times[:] = np.minimum(np.bincount(rng.integers(0, people, people), minlength=people), 255)
    return drawn


class Bootstrap:
    """Bootstrap draws of patients. All models of a task use the same draws, so differences are paired."""

    def __init__(self, patient: NDArray[np.generic], weight: Floats, draws: int, seed: int) -> None:
        """`patient` (n,) identifies the patient of each row."""
        people, self._place = np.unique(patient, return_inverse=True)
        self._weight, self._times = weight, times_drawn(len(people), draws, seed)

    def slopes(self, label: Flags, probability: Floats, whole: Calibration) -> Floats:
        """Return the calibration slope (B,) in each draw; `whole` is the recalibration over all rows.

        Each is one step of Newton's method away from `whole`: the intervals hold the true slope as often as those of whole fits, in
        a hundredth of the time.
        """
        x = log_odds(probability)
        centre = float(np.average(x, weights=self._weight))
        x, chance = x - centre, whole.apply(probability)
        error, spread = label - chance, chance * (1 - chance)
        up, up_x, one, one_x, one_xx = self._sums(error, error * x, spread, spread * x, spread * x * x)
        with np.errstate(invalid="ignore", divide="ignore"):
            slopes: Floats = whole.slope + (one * up_x - one_x * up) / (one * one_xx - one_x**2)
        return slopes

    def intercepts(self, label: Flags, probability: Floats, whole: float) -> Floats:
        """Return calibration in the large (B,) in each draw: one step of Newton's method from `whole`, that of all rows."""
        chance = Calibration(1.0, whole).apply(probability)
        up, spread = self._sums(label - chance, chance * (1 - chance))
        with np.errstate(invalid="ignore", divide="ignore"):
            shifts: Floats = whole + up / spread
        return shifts

    def _sums(self, *columns: Floats) -> Floats:
        """Return the weighted sums of k columns (n,) in each draw (k, B)."""
        people = self._times.shape[1]
        of_patient = np.stack([np.bincount(self._place, self._weight * each, people) for each in columns], 1)
        at_once = max(1, _BLOCK // max(people, 1))
        starts = range(0, len(self._times), at_once)
        return np.concatenate([self._times[start : start + at_once] @ of_patient for start in starts]).T

    def aurocs(self, label: Flags, score: Floats) -> Floats:
        """Return the AUROC (B,) in each draw; NaN if a draw has no case or no non-case."""
        return _aurocs(label, score, self._weight, self._place, self._times)


def interval(draws: Floats) -> tuple[float, float]:
    """Return the 95 % percentile interval of the values in draws, without NaN."""
    low, high = np.nanpercentile(draws, [2.5, 97.5]) if np.isfinite(draws).any() else (np.nan, np.nan)
    return float(low), float(high)


def two_sided(draws: Floats) -> float:
    """Return the two-sided p value of a difference from its draws: twice the smaller tail, at least 2 / (B + 1) (Davison & Hinkley
    1997)."""
    draws = draws[np.isfinite(draws)]
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(draws) + 1))


def _aurocs(
    label: Flags, score: Floats, weight: Floats, place: NDArray[np.integer], times_BP: NDArray[np.uint8]
) -> Floats:
    """Return the AUROC (B,) in each draw: the row's patient `place` (n,) is in it so many `times_BP`."""
    order = np.argsort(score, kind="stable")
    begins = np.flatnonzero(np.diff(score[order], prepend=np.nan) != 0)
    place, weight, case = place[order], weight[order], label[order]
    areas = np.full(len(times_BP), np.nan)
    at_once = max(1, _IN_CACHE // max(len(label), 1))
    for start in range(0, len(areas) if len(begins) else 0, at_once):
        drawn = times_BP[start : start + at_once].take(place, axis=1) * weight
        cases, others = drawn * case, drawn * ~case
        if len(begins) < len(order):  # rows with the same score count together
            cases, others = (np.add.reduceat(each, begins, axis=1) for each in (cases, others))
        below = np.cumsum(others, axis=1) - others / 2
        with np.errstate(invalid="ignore", divide="ignore"):
            areas[start : start + at_once] = (cases * below).sum(1) / (cases.sum(1) * others.sum(1))
    return areas
