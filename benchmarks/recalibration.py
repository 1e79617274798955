"""What recalibration costs and saves, by the number of cases in the validation set: nothing, intercept, both, or both with a prior.

Scores are simulated. The log-odds of the predictions are normal; true log-odds are a line of them, whose slope and height are the
score's error. A validation set is drawn, with as many cases as wanted on average; the recalibration is learned from it, and its
loss computed for all patients: the log loss beyond that of the true risks, and the mean distance from the true risks.

Usage: python benchmarks/recalibration.py [--sets 400]
"""

import argparse
import os
from unittest import mock

import numpy as np
import results
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, xlog1py, xlogy

from ehr_pipeline.predictions import metrics, recalibration
from ehr_pipeline.predictions.metrics import Calibration

Floats = NDArray[np.float64]
CASES, PREVALENCE = (5, 10, 20, 50, 100), (0.1, 0.02, 0.3)
SCORES = {
    "right": (1.0, 0.8, 0.0),
    "too high by 0.5": (1.0, 0.8, 0.5),
    "too extreme, slope 0.6": (0.6, 1.3, 0.0),
    "too extreme, slope 0.3": (0.3, 1.6, 0.0),
    "too cautious, slope 1.5": (1.5, 0.5, 0.0),
    "at chance, nearly the same for all": (0.0, 0.3, 0.0),
    "at chance, different": (0.0, 0.8, 0.0),
}
"""True slope, standard deviation of the predicted log-odds, and by how much they are too high."""
GRID = np.linspace(-4, 4, 401)
DENSITY = np.exp(-(GRID**2) / 2) / np.exp(-(GRID**2) / 2).sum()
WAYS = ("none", "intercept", "intercept and slope", "both, with a prior")
NO_PRIOR, SHOWN = 1e3, 1_000
"""Standard deviation of a prior that says nothing; losses are shown in thousandths."""


def height(spread: float, prevalence: float) -> float:
    """The mean of normal log-odds whose mean probability is the prevalence."""
    return float(brentq(lambda middle: DENSITY @ expit(middle + spread * GRID) - prevalence, -20, 20))


def learned(label: NDArray[np.bool_], probability: Floats) -> dict[str, Calibration]:
    """The recalibration of each way."""
    ones, nothing = np.ones(len(label)), Calibration(1.0, 0.0)
    found = dict.fromkeys(WAYS, nothing)
    if 0 < label.sum() < len(label):
        found["intercept"] = Calibration(1.0, metrics.calibration_intercept(label, probability, ones))
        with (
            mock.patch.object(recalibration, "FEWEST", 1),
            mock.patch.object(recalibration, "USUAL_CHANGES", (NO_PRIOR, NO_PRIOR)),
        ):
            found["intercept and slope"] = recalibration.learned(label, probability, ones) or nothing
    found["both, with a prior"] = recalibration.learned(label, probability, ones) or nothing
    return found


def measure(
    score: tuple[float, float, float], prevalence: float, cases: int, sets: int
) -> dict[str, tuple[float, float]]:
    """Mean log loss beyond that of the true risks, and mean distance from them, by way."""
    slope, spread, high = score
    middle, true = height(spread, prevalence) + high, height(slope * spread, prevalence)
    risk, predicted = expit(true + slope * spread * GRID), expit(middle + spread * GRID)
    least = -(xlogy(risk, risk) + xlog1py(1 - risk, -risk))
    rng, losses = (
        np.random.default_rng([cases, list(SCORES.values()).index(score)]),
        dict[str, list[tuple[float, float]]](),
    )
    for _ in range(sets):
        normal = rng.normal(size=round(cases / prevalence))
        label = rng.random(len(normal)) < expit(true + slope * spread * normal)
        for way, found in learned(label, expit(middle + spread * normal)).items():
            after = np.clip(
                found.apply(predicted), 1e-7, 1 - 1e-7
            )  # or the loss would be infinite if labels are separated
            beyond = -(xlogy(risk, after) + xlog1py(1 - risk, -after)) - least
            losses.setdefault(way, []).append((float(DENSITY @ beyond), float(DENSITY @ np.abs(after - risk))))
    return {way: tuple(np.mean(each, 0).tolist()) for way, each in losses.items()}


def _cell(loss: float) -> str:
    return f"{SHOWN * loss:z.1f}"


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=400, help="validation sets of each kind")
    sets, rows, means = parser.parse_args().sets, [], []
    for prevalence in PREVALENCE:
        for cases in CASES:
            found = {name: measure(score, prevalence, cases, sets) for name, score in SCORES.items()}
            if prevalence == PREVALENCE[0]:
                rows += [(cases, name, *(_cell(own[way][0]) for way in WAYS)) for name, own in found.items()]
            mean = {way: np.mean([own[way] for own in found.values()], 0).tolist() for way in WAYS}
            means.append(
                (f"{prevalence:.0%}", cases, *(f"{_cell(loss)} ({_cell(far)})" for loss, far in mean.values()))
            )
            print(*means[-1], sep=" | ", flush=True)
    height_changes, slope_changes = recalibration.USUAL_CHANGES
    text = (
        f"{sets} validation sets of each kind. Log loss beyond that of the true risks, in thousandths of a nat per prediction."
        " “None” changes nothing. The prior of the last column, which the pipeline uses, is normal around no change, with a"
        f" standard deviation of {height_changes} for the intercept and {slope_changes} for the slope.\n\n"
        f"Means over the {len(SCORES)} scores; in brackets, the mean distance from the true risk, in thousandths:\n\n"
        + results.table(("Share of cases", "Cases", *WAYS), means)
        + f"\n\nBy score, if {PREVALENCE[0]:.0%} are cases:\n\n"
        + results.table(("Cases", "Score", *WAYS), rows)
    )
    results.write("recalibration.py", "Recalibration with few cases", text)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
