"""Make the baseline's vectors, which need no model: truncated SVD of the square roots of concept counts."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, vstack
from sklearn.decomposition import TruncatedSVD

from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.patients.shard import Shard


def visits(
    dataset: list[Path],
    cohort: Cohort,
    vocabulary_size: int,
    part: Callable[[Path, Shard], Shard] = lambda path, shard: shard,
) -> csr_array:
    """Return how many visits of each patient have each concept (n, V), in the cohort's order. `part` may reduce each shard, for
    example to one half of the visits."""
    counts = []
    for path in dataset:
        shard, patients = part(path, Shard.read(path)), cohort.rows(path.name)
        owner, tokens = shard.tokens_of(patients)
        ones = np.ones(len(owner), np.float32)
        counts.append(csr_array((ones, (owner, tokens)), shape=(len(patients), vocabulary_size)))
    joined = csr_array(vstack(counts, format="csr"))
    joined.sum_duplicates()
    return joined[np.argsort(cohort.order)]


def vectors(counts: csr_array, components: int, seed: int) -> NDArray[np.float32]:
    """Return vectors (n, components): a truncated SVD of the square roots of counts (n, V)."""
    rooted = counts.sqrt()
    used = np.flatnonzero(np.diff(rooted.tocsc().indptr))
    size = min(components, len(used) - 1, rooted.shape[0] - 1)
    if size < 2:
        return np.asarray(rooted[:, used].todense(), np.float32)
    reduced: NDArray[np.float32] = (
        TruncatedSVD(size, random_state=seed).fit_transform(rooted[:, used]).astype(np.float32)
    )
    return reduced
