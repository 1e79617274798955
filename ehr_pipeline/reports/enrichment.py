"""Find the concepts that mark a cluster: a chi-square test of independence for each concept and cluster, ranked by log p.

Each pair of a concept and a cluster has two 2 x 2 tables: occurrences (this concept or others, this cluster or the rest; as
published), and patients (with the concept or without). Both tests use Yates' continuity correction, the default of scipy's
`chi2_contingency`. The results also contain the ratio of shares of patients (the lift over the rest) with its confidence interval,
and Benjamini-Hochberg values.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import log_ndtr

from ehr_pipeline.clusters.many_tests import benjamini_hochberg
from ehr_pipeline.disclosure.suppression import Disclosure

Table = NDArray[np.float64]  # (K clusters, V concepts)
Z95 = 1.959963984540054  # quantile of the normal distribution for 95 % intervals


@dataclass(frozen=True)
class Enrichment:
    """Results for all clusters and concepts; arrays are (K, V) unless stated otherwise."""

    occurrences: NDArray[np.int64]
    patients: NDArray[np.int64]
    cluster_patients: NDArray[np.int64]
    """Patients (K,) of each cluster."""
    log_p: Table
    """Natural logarithm of p for occurrences; logarithms do not underflow, so strong effects keep their order."""
    log_p_patients: Table
    ratio: Table
    """The concept's share of the cluster's occurrences over its share elsewhere; infinite if it is 0 elsewhere."""
    over: NDArray[np.bool_]
    """Whether the concept is over-represented in the cluster."""
    log_q: Table
    """Natural logarithm of the Benjamini-Hochberg value of `log_p`, over all concepts and clusters."""

    @property
    def share(self) -> Table:
        """Share of the cluster's patients that have the concept."""
        return self.patients / np.maximum(self.cluster_patients[:, None], 1)

    def lift(self, cluster: int, concept: int) -> tuple[float, float, float]:
        """Return the share of a cluster's patients with a concept over the share elsewhere, and its 95 % interval."""
        return risk_ratio(*self._cells(cluster, concept))

    def lifted(self, cluster: int, concept: int, disclosure: Disclosure) -> bool:
        """Return whether the whole 95 % interval of a lift is above 1. If a count is too small to be shown, the worst case for it
        is assumed."""
        inside, size, outside, others = self._cells(cluster, concept)
        if disclosure.small(inside):
            inside = 1
        if disclosure.small(size - inside):
            inside = max(size - disclosure.below, 0)
        if disclosure.small(outside):
            outside = min(disclosure.below - 1, others)
        return risk_ratio(inside, size, others if disclosure.small(others - outside) else outside, others)[1] > 1

    def _cells(self, cluster: int, concept: int) -> tuple[int, int, int, int]:
        """Return numbers of patients: with a concept and in all, first in a cluster, then elsewhere."""
        inside, size = int(self.patients[cluster, concept]), int(self.cluster_patients[cluster])
        return inside, size, int(self.patients[:, concept].sum()) - inside, int(self.cluster_patients.sum()) - size

    def top(self, cluster: int, count: int, max_p: float) -> list[int]:
        """Return the `count` concepts of a cluster with the smallest p below `max_p`, most important first, in both directions."""
        log_p, ratio = self.log_p[cluster], self.ratio[cluster]
        strength = np.abs(np.log(np.clip(ratio, 1e-12, 1e12)))
        order = np.lexsort((np.arange(len(log_p)), -strength, log_p))
        return [int(concept) for concept in order[:count] if log_p[concept] < np.log(max_p)]


def test(counts: csr_array, labels: NDArray[np.int64], clusters: int) -> Enrichment:
    """Test every concept in each of K `clusters`; a concept without patients has no effect.

    `counts` (n, V) is the number of visits by patient and concept; `labels` (n,) are clusters from 0.
    """
    member = csr_array((np.ones(len(labels)), (labels, np.arange(len(labels)))), shape=(clusters, len(labels)))
    occurrences = np.asarray((member @ counts).todense(), np.int64).reshape(clusters, -1)
    patients = np.asarray((member @ (counts > 0).astype(np.float64)).todense(), np.int64).reshape(clusters, -1)
    size = np.bincount(labels, minlength=clusters)
    in_cluster = occurrences.sum(1, keepdims=True)
    statistic, over, ratio = _two_by_two(occurrences, np.broadcast_to(in_cluster, occurrences.shape))
    statistic_patients, _, _ = _two_by_two(patients, np.broadcast_to(size[:, None], patients.shape))
    log_p, log_p_patients = log_p_of(statistic), log_p_of(statistic_patients)
    log_q = np.zeros_like(log_p)
    occurs = occurrences.sum(0) > 0
    if occurs.any():
        log_q[:, occurs] = benjamini_hochberg(log_p[:, occurs])
    return Enrichment(occurrences, patients, size, log_p, log_p_patients, ratio, over, log_q)


def log_p_of(statistic: Table) -> Table:
    """Return ln p of a chi-square statistic with one degree of freedom: ln 2 Φ(-√x), exact where p would underflow."""
    log_p: Table = np.log(2) + log_ndtr(-np.sqrt(statistic))
    return log_p


def risk_ratio(inside: int, size: int, outside: int, others: int) -> tuple[float, float, float]:
    """Return (inside / size) / (outside / others) and its 95 % interval by the log method (Katz 1978).

    If `inside` or `outside` is 0, half a patient is added to each count, so that ratio and interval are finite (Walter
    1975). The ratio and the lower end are 0 if `inside` is 0.
    """
    half = 0.5 if not (inside and outside) else 0.0
    a, n, b, m = inside + half, size + half, outside + half, others + half
    if not (size and others):
        return float("nan"), float("nan"), float("nan")
    log_ratio = float(np.log(a / n) - np.log(b / m))
    width = Z95 * float(np.sqrt(max(1 / a - 1 / n + 1 / b - 1 / m, 0)))
    ratio, low, high = (float(np.exp(log_ratio + sign * width)) for sign in (0, -1, 1))
    return (ratio if inside else 0.0), (low if inside else 0.0), high


def _two_by_two(inside: NDArray[np.int64], inside_total: NDArray[np.int64]) -> tuple[Table, NDArray[np.bool_], Table]:
    """Return each cell's Yates-corrected statistic, whether the cell is over-represented, and its ratio of shares."""
    a = inside.astype(float)
    b = inside_total - a
    c = a.sum(0, keepdims=True) - a
    d = inside_total.sum(0, keepdims=True) - inside_total - c
    n = a + b + c + d
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    difference = np.maximum(np.abs(a * d - b * c) - n / 2, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(margins > 0, n * difference**2 / margins, 0.0)
        share, elsewhere = a / (a + b), c / (c + d)
        ratio = np.where(elsewhere > 0, share / elsewhere, np.where(share > 0, np.inf, 1.0))
    return statistic, a * d > b * c, np.nan_to_num(ratio, nan=1.0, posinf=np.inf)
