"""Learn on the validation set how predictions are recalibrated. Few cases change little.

Without a prior, recalibration from five cases makes most predictions worse (`benchmarks/recalibration.py`).
"""

import numpy as np

from ehr_pipeline.predictions.metrics import Calibration, Flags, Floats, calibration_intercept, log_odds, probabilities

FEWEST = 5
"""Fewest cases, and fewest others, from which a recalibration is learned."""
USUAL_CHANGES = 0.25, 0.5
"""Standard deviations of the prior, for the changes of the intercept and of the slope. The training set knows the share of cases
better than a small validation set does, so the intercept has the narrower one."""
_STEPS = 50


def learned(label: Flags, probability: Floats, weight: Floats, share: float | None = None) -> Calibration | None:
    """Return the slope and intercept by which probabilities are recalibrated; None with fewer than FEWEST cases or others.

    This is a logistic regression of the labels (n,) on the log-odds (Platt 1999). The prior is normal, around no change. `share`:
    the share of cases in the training set, if the log-odds may be far from those of a probability; the prior is then around the
    intercept that gives this share. No slope is below 0, which would reverse the order of the predictions.
    """
    if min(label.sum(), (~label).sum()) < FEWEST:
        return None
    shift = 0.0 if share is None else calibration_intercept(np.full(len(label), share), probability, weight)
    x = log_odds(probability) + shift
    # At this centre, the intercept hardly depends on the slope: so one prior does not work against the other.
    now = probabilities(x)
    centre = float(np.average(x, weights=weight * now * (1 - now)))
    height, steepness = _fitted(np.stack([np.ones(len(x)), x - centre]), x, (label, weight)).tolist()
    if (slope := 1 + steepness) < 0:
        return Calibration(0.0, float(log_odds(np.average(label, weights=weight, keepdims=True))[0]))
    return Calibration(slope, slope * shift + height - steepness * centre)


def _fitted(columns: Floats, offset: Floats, seen: tuple[Flags, Floats]) -> Floats:
    """Return the coefficients (2,) of `columns` (2, n) in a logistic regression with an offset (n,) and the prior.

    Newton's method with halved steps. `seen`: labels and weights (n,)."""
    label, weight = seen
    prior = np.array(USUAL_CHANGES) ** -2

    def loss(tried: Floats) -> float:
        odds = offset + tried @ columns
        return float(weight @ np.logaddexp(0, np.where(label, -odds, odds)) + (prior * tried**2).sum() / 2)

    beta = np.zeros(2)
    now = loss(beta)
    for _ in range(_STEPS):
        chance = probabilities(offset + beta @ columns)
        slope = columns @ (weight * (label - chance)) - prior * beta
        curvature = (columns * (weight * chance * (1 - chance))) @ columns.T + np.diag(prior)
        step = np.linalg.solve(curvature, slope)
        tried = ((loss(beta + step * size), size) for size in 0.5 ** np.arange(10))
        reached, size = next((each for each in tried if each[0] < now), (now, 0.0))
        beta, gain, now = beta + step * size, now - reached, reached
        if gain < 1e-8 * max(now, 1e-8):
            break
    return beta
