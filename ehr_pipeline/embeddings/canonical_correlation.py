"""Find the directions of patient vectors in which both halves of the visits agree: canonical correlation of two halves.

A record is a sample of what a patient has. If the visits are halved at random, each half is a separate sample of the same patient:
what both halves agree on belongs to the patient, the rest is chance. Canonical correlation (Hotelling 1936) finds the directions in
which the halves of all patients agree most. If the halves are independent given the patient's state, these directions span all that
can be known of that state (Foster, Kakade & Zhang 2008, 'Multi-view dimensionality reduction via canonical correlation analysis').
Both halves are drawn in the same way, so one set of directions serves for both halves, and the correlation is a reliability as in a
split-half test (Spearman 1910).

Axes: P patients, D dimensions, K directions.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
RIDGE = 1e-3
"""Added to the diagonal of the covariance, relative to its mean, so directions without variance are not inflated."""
PERMUTATIONS, DEVIATIONS = 40, 4
"""Number of times that halves are shuffled to measure chance; by how many standard deviations a correlation must exceed the mean of
the shuffles' best ones to be kept."""
FEWEST_PATIENTS = 50


@dataclass(frozen=True)
class Canonical:
    """Directions in which the halves agree. Vectors x (P, D) become (x - centre) @ directions, (P, K)."""

    centre: Vectors
    directions: Vectors
    """(D, K), each scaled so that a half has variance 1 along it, times its reliability: unreliable directions have less weight."""
    reliabilities: NDArray[np.float64]
    """Correlation (K,) of the halves along each direction, in descending order."""
    chance: float
    """Threshold that a correlation has to exceed: see DEVIATIONS."""

    def apply(self, vectors: Vectors) -> Vectors:
        """Return the vectors' coordinates (P, K) along the directions."""
        return ((vectors - self.centre) @ self.directions).astype(np.float32)


def fit(one: Vectors, other: Vectors, most: int, seed: int) -> Canonical | None:
    """Find up to `most` directions in which two halves (P, D) of the same patients agree better than those of different patients.

    Returns None if there are fewer than FEWEST_PATIENTS patients. Also returns None if no such direction is found, or only one
    although `most` is higher: along a single direction, vectors scaled to length 1 can only be +1 or -1. Agreement by chance is
    measured on shuffled halves (parallel analysis, Horn 1965).
    """
    if len(one) < FEWEST_PATIENTS:
        return None
    centre = np.concatenate([one, other]).mean(0)
    a, b = one - one.mean(0), other - other.mean(0)
    spread = (a.T @ a + b.T @ b).astype(np.float64) / (2 * len(a))
    spread += RIDGE * max(float(np.trace(spread)) / len(spread), 1e-12) * np.eye(len(spread))
    values, axes = np.linalg.eigh(spread)
    whitening = (axes / np.sqrt(values)) @ axes.T

    def agreement(second: Vectors) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        both = (a.T @ second + second.T @ a).astype(np.float64) / (2 * len(a))
        return np.linalg.eigh(whitening @ both @ whitening)

    rng = np.random.default_rng([seed, 0xCA40])
    shuffled = np.array([agreement(b[rng.permutation(len(b))])[0][-1] for _ in range(PERMUTATIONS)])
    chance = float(shuffled.mean() + DEVIATIONS * shuffled.std())
    correlations, rotation = agreement(b)
    order = np.argsort(-correlations, kind="stable")
    kept = order[: min(most, int((correlations > chance).sum()))]
    if len(kept) < min(most, 2):
        return None
    reliabilities = correlations[kept]
    directions = whitening @ rotation[:, kept]
    largest = directions[np.abs(directions).argmax(0), np.arange(len(kept))]
    directions = directions * np.where(largest < 0, -1, 1) * reliabilities
    return Canonical(centre.astype(np.float32), directions.astype(np.float32), reliabilities, chance)
