"""Estimate how many patients would move between clusters if they merely grew older, with records that change as anybody's do.

A patient's windows differ even if nothing particular happens to the patient: vectors move with age, a first window holds the
history that was entered at registration, diagnoses begin at any age, and a window holds few records. So a vector is modelled as
a first-order autoregression. In each dimension, the value in the last window is the sum of three terms: what age, the number of
recorded concepts and the other covariates predict; a share of the first window's deviation from its own prediction (regression to
the mean; Barnett 2005); and a random innovation. If nobody moves between clusters in particular, innovations do not depend on the
cluster of the first window. So a patient could equally well have had the innovation of another patient with similar covariates.
That innovation is added to the patient's own prediction. The cluster of the resulting window is one draw from the expected
distribution: a residual bootstrap (Efron & Tibshirani 1993, chapter 8), with innovations taken from the nearest patients.

The innovations also come from patients who did change, so expected numbers are somewhat too high, which makes the test
conservative. Axes: n patients with two windows or more, D dimensions, K clusters.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Vectors = NDArray[np.float32]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Assigns = Callable[[Integers, Vectors], Integers]
"""Function from patients (m,), as rows of `Ends`, and vectors (m, D) to the indices (m,) of their clusters."""

DONORS = 10
"""Number of similar patients (donors) whose innovations are added, one at a time, to each patient's prediction."""
FEWEST = 50
"""Smallest number of patients from whom predictions are learned."""
FOLDS, RIDGE = 5, 1.0


@dataclass(frozen=True)
class Ends:
    """The first and the last window of each patient with several windows."""

    first: Vectors
    """Vectors (n, D)."""
    last: Vectors
    categories: tuple[NDArray[np.generic], ...]
    """Values (n,) each, such as disease and sex."""
    ages: Floats
    """Ages in years (n, 2) in the middle of both windows."""
    covariates: Floats
    """Further numbers (n, c), such as the logarithms of the amounts recorded in both windows."""

    @property
    def numbers(self) -> Floats:
        """Ages and covariates (n, 2 + c), each in units of its spread."""
        found = np.hstack([self.ages, self.covariates])
        return np.asarray((found - found.mean(0)) / np.maximum(found.std(0), 1e-9), np.float64)

    @property
    def cell(self) -> Integers:
        """Number (n,) of each patient's combination of categories."""
        coded = np.stack([np.unique(values, return_inverse=True)[1] for values in self.categories])
        return np.unique(coded, axis=1, return_inverse=True)[1].ravel().astype(np.int64)

    def design(self) -> Floats:
        """Return columns of the regression (n, p): intercept, categories, numbers, their squares, and ages within each category."""
        numbers = self.numbers
        flags = np.hstack([values[:, None] == np.unique(values) for values in self.categories]).astype(float)
        within = np.hstack([flags * numbers[:, [place]] for place in range(2)])
        return np.hstack([np.ones((len(flags), 1)), flags, numbers, numbers**2, within])


def flows(ends: Ends, left: Integers, clusters: int, assign: Assigns) -> Floats | None:
    """Return how many patients are expected to go from row to column cluster (K, K); None if there are too few patients.

    `left` (n,) are the indices of the clusters of the first windows. A patient who shares all categories with nobody is expected to
    stay.
    """
    if len(left) < FEWEST:
        return None
    predicted, innovations = _autoregression(ends)
    donors = _donors(ends)
    counts = np.zeros(clusters * clusters)
    for donor in donors.T:
        some = np.flatnonzero(donor >= 0)
        entered = left.copy()
        entered[some] = assign(some, (predicted[some] + innovations[donor[some]]).astype(np.float32))
        counts += np.bincount(left * clusters + entered, minlength=clusters * clusters)
    return np.asarray(counts.reshape(clusters, clusters) / donors.shape[1], np.float64)


def _autoregression(ends: Ends) -> tuple[Vectors, Vectors]:
    """Return the predicted last windows (n, D) and the innovations (n, D), both learned from other patients."""
    design = ends.design()
    predicted = np.empty_like(ends.last)
    for fold in range(FOLDS):
        own = np.arange(len(design)) % FOLDS == fold
        gram = design[~own].T @ design[~own] + RIDGE * np.eye(design.shape[1])
        first, last = (np.linalg.solve(gram, design[~own].T @ vectors[~own]) for vectors in (ends.first, ends.last))
        deviation, after = ends.first - design @ first, ends.last - design @ last
        lasting = (deviation[~own] * after[~own]).sum(0) / np.maximum((deviation[~own] ** 2).sum(0), 1e-12)
        predicted[own] = (design[own] @ last + lasting * deviation[own]).astype(np.float32)
    return predicted, ends.last - predicted


def _donors(ends: Ends) -> Integers:
    """For each patient, return the DONORS patients of the same categories who are nearest in numbers (n, DONORS). If there are
    fewer, they are repeated; -1 if there are none."""
    numbers, cell = ends.numbers, ends.cell
    found = np.full((len(cell), DONORS), -1)
    for members in np.split(np.argsort(cell, kind="stable"), np.cumsum(np.bincount(cell))[:-1]):
        others = min(DONORS, len(members) - 1)
        if not others:
            continue
        near = KDTree(numbers[members]).query(numbers[members], others + 1)[1]
        itself = near == np.arange(len(members))[:, None]
        itself[~itself.any(1), -1] = True  # equal numbers can crowd a patient out of its own neighbourhood
        near = near[~itself].reshape(len(members), others)
        found[members] = members[near[:, np.arange(DONORS) % others]]
    return found
