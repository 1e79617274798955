"""Test which concepts are more, or less, frequent in a cluster's patients than in similar patients: the mark test.

A cluster is not tested on the data that made it. The cluster assigned to one half of a patient's visits is compared with the
concepts of the *other* half (data thinning: Neufeld et al. 2024, Biostatistics 25(1)), in both directions. The units are patients:
each contributes the square roots of the concepts' shares in the half. Patients are compared within blocks of similar patients, so
that the attributes that define blocks cannot explain a difference.

Under the null hypothesis, records are exchangeable within a block. The mean, variance and skewness of the sum over a cluster's
patients, under all permutations within blocks, are known in closed form (sampling without replacement). The two directions share
their patients and are permuted together, so the variance includes their covariance. The sum of a rare concept is skewed, because
few patients have it, and a normal p value would be far too small. So the sum is treated as Pearson type III (gamma), and turned
into a normal deviate by the cube root of Wilson & Hilferty (1931, PNAS 17), wherever this gives the larger p.

Shares add up to one: if a cluster's patients have less of a frequent concept, they have larger shares of all others; and as they
are matched on the amount of record, more of all others too. So an excess counts only beyond the change that is common to the
concepts of a cluster: the median of observed over expected sums, weighted by the expected ones (compare the size factors of Anders
& Huber 2010, Genome Biology 11). This only makes deviates smaller.

With several sets of blocks, a concept has to pass in each set: the largest p counts (intersection-union test, Berger 1982,
Technometrics 24).

Axes: m patients with both halves, B blocks, K clusters, V concepts. All products are of sparse matrices with at most as many
entries as the records have; the dense results are (K, V).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import log_ndtr

from ehr_pipeline.clusters.methods import Labels

Table = NDArray[np.float64]
LEAST = 1e-12
"""A variance below this is rounding error, and its pair is not tested."""


@dataclass(frozen=True)
class Halves:
    """Patients with both halves of their record."""

    votes: tuple[Labels, Labels]
    """The cluster (m,) assigned to each half."""
    roots: tuple[csr_array, csr_array]
    """Square roots of the shares (m, V) of concepts in each half."""

    def columns(self, tokens: NDArray[np.int64]) -> "Halves":
        """Return the same patients with only the concepts `tokens`."""
        return Halves(self.votes, (self.roots[0][:, tokens], self.roots[1][:, tokens]))


def root_shares(counts: csr_array) -> csr_array:
    """Return square roots of the concepts' shares of a patient's counts (m, V), so distances are Hellinger distances."""
    total = np.asarray(counts.sum(axis=1)).ravel()
    shares = counts.multiply(1 / np.maximum(total, 1)[:, None])
    return csr_array(shares.tocsr().astype(np.float64).sqrt())


def deviates(halves: Halves, blockings: Sequence[Labels], clusters: int) -> Table:
    """Return the normal deviates (K, V) of the test; 0 if a pair cannot be tested, or if the sets of blocks disagree in sign.

    `blockings` are one or more sets of block numbers (m,). A deviate is positive where the cluster's patients have more of the
    concept.
    """
    tables = [_within(halves, np.unique(blocks, return_inverse=True)[1], clusters) for blocks in blockings]
    size, sign = np.abs(tables).min(axis=0), np.sign(tables)
    return np.where((sign == sign[0]).all(axis=0), sign[0] * size, 0.0)


def log_p_of(deviate: Table) -> Table:
    """Return the natural logarithm of the two-sided p value of normal deviates."""
    log_p: Table = np.minimum(np.log(2) + log_ndtr(-np.abs(deviate)), 0.0)
    return log_p


def _within(halves: Halves, blocks: Labels, clusters: int) -> Table:
    """Return the deviates (K, V) within one set of blocks, numbered from 0 without gaps."""
    excess, expected, variance, skewness = moments(halves, blocks, clusters)
    known = variance > LEAST
    beyond = beyond_common_change(excess, expected)
    return _less_certain(np.where(known, beyond / np.sqrt(np.where(known, variance, 1.0)), 0.0), skewness)


def beyond_common_change(excess: Table, expected: Table) -> Table:
    """Return the excess (K, V) of sums over the `expected` ones, as far as it goes beyond the change that the concepts of a cluster
    have in common; 0 if that explains it."""
    change = np.divide(excess, expected, out=np.zeros_like(excess), where=expected > 0)
    order = np.argsort(change, axis=1, kind="stable")
    weight = np.take_along_axis(expected, order, axis=1).cumsum(axis=1)
    middle = (weight < weight[:, -1:] / 2).sum(axis=1, keepdims=True)
    common = np.take_along_axis(np.take_along_axis(change, order, axis=1), middle, axis=1)
    sign = np.sign(excess)
    return np.asarray(sign * np.maximum(np.abs(excess) - np.maximum(sign * common, 0) * expected, 0))


def moments(halves: Halves, blocks: Labels, clusters: int) -> tuple[Table, Table, Table, Table]:
    """Return how far the sums of root shares over each cluster's patients exceed their means (K, V), the means, and the variances
    and skewness of the sums.

    Mean, variance and skewness are over all permutations of the patients within `blocks` (m,), numbered from 0 without gaps.
    """
    size, patients = np.bincount(blocks).astype(np.float64), np.arange(len(blocks))
    mean = csr_array((1 / size[blocks], (blocks, patients)), shape=(len(size), len(blocks)))
    shape = clusters, halves.roots[0].shape[1]
    excess, expected, apart, third = (np.zeros(shape) for _ in range(4))
    for vote, roots in zip(halves.votes, halves.roots[::-1], strict=True):
        member = csr_array((np.ones(len(vote)), (vote, patients)), shape=(clusters, len(vote)))
        inside = _counted(blocks, vote, (len(size), clusters))
        one, two, three = (csr_array(mean @ roots.power(power)) for power in (1, 2, 3))
        due = _product(inside, one)
        excess += (member @ roots).toarray() - due
        expected += due
        apart += _product(_second(inside, size), csr_array(two - one.power(2)))
        cubed = three - one.multiply(two) * 3 + one.power(3) * 2
        third += _product(_third(inside, size), csr_array(cubed))
    apart = np.maximum(apart, 0)
    variance = apart + 2 * np.maximum(_covariance(halves, blocks, mean, clusters), 0)
    known = apart > LEAST
    # The skewness of both directions together is at most that of two identical directions.
    return excess, expected, variance, np.where(known, np.sqrt(2) * third / np.where(known, apart, 1.0) ** 1.5, 0.0)


def _covariance(halves: Halves, blocks: Labels, mean: csr_array, clusters: int) -> Table:
    """Return the covariance (K, V) of the two directions if patients are permuted within blocks, each patient with the votes of
    both halves."""
    size = np.bincount(blocks).astype(np.float64)[:, None]
    one, other = (_counted(blocks, vote, (len(size), clusters)) for vote in halves.votes)
    same = halves.votes[0] == halves.votes[1]
    both = _counted(blocks[same], halves.votes[0][same], (len(size), clusters))
    a, b = halves.roots
    joint = csr_array(mean @ a.multiply(b).tocsr()) - csr_array(mean @ a).multiply(csr_array(mean @ b))
    return _product(np.where(size > 1, (both * size - one * other) / np.maximum(size - 1, 1), 0.0), csr_array(joint))


def _counted(blocks: Labels, vote: Labels, shape: tuple[int, int]) -> Table:
    """Return the number of patients in each block and cluster (B, K)."""
    return np.bincount(blocks * shape[1] + vote, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)


def _product(weights: Table, values: csr_array) -> Table:
    """Return sums over blocks (K, V) of weights (B, K) times values (B, V)."""
    sums: Table = (values.T @ weights).T
    return sums


def _second(inside: Table, size: NDArray[np.float64]) -> Table:
    """Return the factor by which a block's variance is multiplied to give the variance of a sum over some of its patients. `inside`
    (B, K) is the number of patients in the sum."""
    n = size[:, None]
    return np.where(n > 1, inside * (n - inside) / np.maximum(n - 1, 1), 0.0)


def _third(inside: Table, size: NDArray[np.float64]) -> Table:
    """Return the corresponding factor of the third central moment (Sukhatme 1938, Sankhya 4: finite populations)."""
    n = size[:, None]
    return np.where(n > 2, inside * (n - inside) * (n - 2 * inside) / np.maximum((n - 1) * (n - 2), 1), 0.0)


def _less_certain(deviate: Table, skewness: Table) -> Table:
    """Return deviates (K, V), transformed by Wilson & Hilferty's cube root where they lie in the heavier tail."""
    far, heavy = np.abs(deviate), skewness * np.sign(deviate)
    skewed = heavy > 1e-6
    safe = np.where(skewed, heavy, 1.0)
    cube = 6 / safe * (np.cbrt(safe * far / 2 + 1) - 1) + safe / 6
    return np.sign(deviate) * np.where(skewed, np.clip(cube, 0, far), far)
