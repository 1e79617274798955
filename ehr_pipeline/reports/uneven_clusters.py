"""Find single clusters whose patients come from other practices than the rest.

The effect over all clusters (`bias_audit`) stays small if only one or two of many clusters reflect a habit of some practices: for
example one cluster of "hypertension" as half of the practices code it, and ten clusters unrelated to practices.

For each cluster, the measure is the dissimilarity (Duncan & Duncan 1955) between its patients and all others: half of the sum of
absolute differences of shares, which is the smallest share of its patients who would have to change practice for both to have the
same distribution. Chance makes it positive, so its mean over permutations of the patients is subtracted. A cluster is named if at
least `LEAST` remains, and if its standardised dissimilarity exceeds the largest one of any cluster in 95 % of permutations: so at
most one page in twenty names a cluster where practices and clusters are independent."""

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.reports.bias_audit import MAX_P, RESAMPLES, Labels

LEAST = 0.2


def uneven(values: NDArray[np.generic], labels: Labels, *, seed: int) -> list[int]:
    """Return the labels of the clusters in which a category (n,) is distributed otherwise than among all other patients."""
    coded = np.unique(values, return_inverse=True)[1]
    if coded.max(initial=0) == 0 or labels.max(initial=0) == 0:
        return []
    rng = np.random.default_rng([seed, 0x5EED])
    # The real clusters count as one of the divisions: only then are all exchangeable if nothing is related, and is the limit exact.
    divisions = [labels, *(rng.permutation(labels) for _ in range(RESAMPLES))]
    apart = np.stack([_dissimilarity(coded, each) for each in divisions])
    beyond, spread = apart - apart.mean(axis=0), apart.std(axis=0)
    scores = beyond / np.where(spread > 0, spread, np.inf)
    limit = np.quantile(scores.max(axis=1), 1 - MAX_P, method="higher")
    return np.flatnonzero((beyond[0] >= LEAST) & (scores[0] > limit)).tolist()


def _dissimilarity(coded: NDArray[np.int64], labels: Labels) -> NDArray[np.float64]:
    """Return the dissimilarity of each cluster (K,) and all others."""
    shape = int(labels.max()) + 1, int(coded.max()) + 1
    inside = np.bincount(labels * shape[1] + coded, minlength=shape[0] * shape[1]).reshape(shape).astype(np.float64)
    outside = inside.sum(axis=0) - inside
    parts = [table / np.maximum(table.sum(axis=1, keepdims=True), 1) for table in (inside, outside)]
    apart: NDArray[np.float64] = np.abs(parts[0] - parts[1]).sum(axis=1) / 2
    return apart
