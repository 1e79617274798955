"""Measure how stable clusters are, by clustering random subsets of the patients again (Hennig 2007, Computational Statistics and
Data Analysis 52(1): Jaccard coefficient of each cluster, with subsets).

Subsets are used instead of bootstrap samples, because a patient drawn twice would be its own nearest neighbour and change the
graph. A stable cluster reappears in other samples, which does not make it meaningful (see `evidence`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from ehr_pipeline.clusters.assign import vote
from ehr_pipeline.clusters.methods import METHODS, Labels, Vectors
from ehr_pipeline.clusters.neighbour_graph import neighbour_graph
from ehr_pipeline.clusters.neighbours import nearest_of
from ehr_pipeline.clusters.spectral import Spectrum, spectrum

Shares = NDArray[np.float64]
Divided = tuple[NDArray[np.int64], list[Labels]]
"""Rows of some patients, and their labels when divided into 2, 3, … clusters."""
STABLE = 0.75  # Hennig 2007: at or above this a cluster is valid; below 0.6 it should not be trusted
FEWEST = 30
"""With fewer patients, stability is not tested."""


@dataclass(frozen=True)
class Sampling:
    """How subsets are drawn and clustered: number of subsets, largest number of patients in each, and number of neighbours in the
    graph."""

    count: int
    patients: int
    neighbours: int
    seed: int


@dataclass(frozen=True)
class ClusterStability:
    """Stability figures from the subsets."""

    clusters: Shares
    """Mean Jaccard coefficient of each cluster (clusters,); NaN if no subset held any of the cluster's patients."""
    spread: Shares
    """2.5th and 97.5th percentile (2, clusters) of the coefficient over subsets; NaN as above. They are not a confidence interval,
    because the subsets share patients."""
    patients: Shares
    """For each patient (n,), the share of subsets with the patient in the matching cluster; NaN for a patient in none."""
    over_n: Shares
    """Adjusted Rand index (subsets, numbers of clusters) of a subset's clusters with those of all, for 2, 3, … clusters."""
    strength: Shares
    """Prediction strength (pairs of subsets, numbers of clusters), for 2, 3, … clusters; NaN where it cannot be computed."""


def subsets(n: int, sampling: Sampling) -> Iterator[NDArray[np.int64]]:
    """Yield the sorted rows of random subsets of n patients: half of them each, or the allowed number if that is lower. All
    patients are drawn equally often: over all subsets, two patients' numbers of draws differ by at most 1."""
    rng = np.random.default_rng([sampling.seed, 0x57AB])
    size, waiting = min(n // 2, sampling.patients), np.zeros(0, np.int64)
    for _ in range(sampling.count):
        if len(waiting) < size:
            following = rng.permutation(n)
            waiting = np.concatenate(
                [waiting, following[~np.isin(following, waiting)], following[np.isin(following, waiting)]]
            )
        yield np.sort(waiting[:size])
        waiting = waiting[size:]


def examine(unit: Vectors, labels: Labels, method: str, whole: Spectrum, sampling: Sampling) -> ClusterStability:
    """Cluster subsets of unit vectors (n, D) and compare the results with the clusters (n,) that `method` found for all patients.

    `whole` is the spectrum of all patients; it has as many coordinates as the largest number of clusters to examine.
    """
    n, count, most = len(unit), int(labels.max()) + 1, whole.coordinates.shape[1]
    by_n = [whole.labels(number) for number in range(2, most + 1)]
    jaccards, over_n, strength, before = [], [], [], None
    same, drawn = np.zeros(n), np.zeros(n)
    for number, rows in enumerate(subsets(n, sampling) if n >= FEWEST else ()):
        seed = sampling.seed + number
        graph = neighbour_graph(unit[rows], sampling.neighbours, seed)
        wanted = min(count, len(rows) - 1)
        of_subset = spectrum(graph, wanted, seed, max(most - count, 0))
        sizes = range(2, min(most, of_subset.coordinates.shape[1]) + 1)
        divided = rows, [of_subset.labels(k) for k in sizes]
        over_n.append(
            [adjusted_rand_score(everybody[rows], again) for everybody, again in zip(by_n, divided[1], strict=False)]
        )
        if number % 2 and before:
            strength.append(_strength(unit, before, divided, sampling.neighbours))
        before = divided
        again = of_subset.labels(wanted) if method == "spectral" else METHODS[method](unit[rows], graph, wanted, seed)
        overlap = jaccard(labels[rows], again, count)
        there = np.bincount(labels[rows], minlength=count) > 0
        jaccards.append(np.where(there, overlap.max(axis=1), np.nan))
        same[rows] += again == overlap.argmax(axis=1)[labels[rows]]
        drawn[rows] += 1
    patients = np.where(drawn > 0, same / np.maximum(drawn, 1), np.nan)
    nothing = np.zeros((0, most - 1))
    return ClusterStability(
        _mean(np.array(jaccards), count),
        _spread(np.array(jaccards), count),
        patients,
        np.array(over_n) if over_n else nothing,
        np.array(strength) if strength else nothing,
    )


def _strength(unit: Vectors, one: Divided, other: Divided, neighbours: int) -> list[float]:
    """Prediction strength for 2, 3, … clusters: how well the clusters of some patients predict those of others.

    Patients in `other` but not in `one` are assigned to the clusters of `one`, by the vote of the nearest patients. For each
    cluster of `other`, this gives the share of its pairs of patients who are assigned to the same cluster. The strength is the
    smallest of these shares (Tibshirani & Walther 2005, Journal of Computational and Graphical Statistics 14).
    """
    new = ~np.isin(other[0], one[0])
    nearest = nearest_of(unit[other[0][new]], unit[one[0]], min(neighbours, len(one[0])))
    return [
        least_pair_agreement(other_labels[new], vote(nearest, labels, int(labels.max()) + 1)[0])
        for labels, other_labels in zip(one[1], other[1], strict=False)
    ]


def least_pair_agreement(clusters: Labels, predicted: Labels) -> float:
    """Return the smallest share, over all `clusters` (n,) with at least two patients, of a cluster's pairs of patients that are
    also together in `predicted` (n,)."""
    counts = np.zeros((int(clusters.max()) + 1, int(predicted.max()) + 1))
    np.add.at(counts, (clusters, predicted), 1)
    size = counts.sum(axis=1)
    several = size > 1
    together = (counts * (counts - 1)).sum(axis=1)[several] / (size * (size - 1))[several]
    return float(together.min(initial=1.0)) if several.any() else float("nan")


def jaccard(one: Labels, other: Labels, count: int | None = None) -> Shares:
    """Jaccard coefficients (clusters of one, clusters of the other) of two sets of labels (n,) for the same patients.

    A label of -1 means no cluster.
    """
    count = int(one.max()) + 1 if count is None else count
    width = int(other.max()) + 1
    both = (one >= 0) & (other >= 0)
    shared = np.bincount(one[both] * width + other[both], minlength=count * width).reshape(count, width)
    sizes = np.bincount(one[one >= 0], minlength=count)[:, None] + np.bincount(other[other >= 0], minlength=width)
    coefficients: Shares = shared / np.maximum(sizes - shared, 1)
    return coefficients


def words(stability: float, unstable_below: float) -> str:
    """Return a coefficient as a word: stable, doubtful, unstable or untested."""
    if not np.isfinite(stability):
        return "untested"
    return "unstable" if stability < unstable_below else "stable" if stability >= STABLE else "doubtful"


def _spread(values: Shares, count: int) -> Shares:
    """The 2.5th and the 97.5th percentile (2, count) of the known values (subsets, count)."""
    known = [values[np.isfinite(values[:, place]), place] if len(values) else values for place in range(count)]
    ends = [np.quantile(some, (0.025, 0.975)) if len(some) else (np.nan, np.nan) for some in known]
    return np.array(ends).T


def _mean(values: Shares, count: int) -> Shares:
    if not len(values):
        return np.full(count, np.nan)
    known = np.isfinite(values)
    total = np.where(known, values, 0).sum(axis=0)
    return np.where(known.any(axis=0), total / np.maximum(known.sum(axis=0), 1), np.nan)
