"""Compute concept profiles: the square roots of each chosen concept's share in a patient's record, and their leading components.

With square roots of shares, Euclidean distances become Hellinger distances, which suit compositions and do not grow with the length
of a record (Legendre & Gallagher 2001, 'Ecologically meaningful transformations for ordination'). First, shares p are smoothed with
the cohort's shares q, (1 - s) p + s q (Jelinek & Mercer 1980; Zhai & Lafferty 2004): the root is steep at zero and would exaggerate
what a short record, or half of one, contains by chance. Part of each concept's share may also go to the concepts with the nearest
encoder vectors, so related concepts count as similar (as in the soft cosine, Sidorov 2014). The mean age at which the concepts
were recorded is a further feature, because shares do not contain it. Axes: P patients, S chosen concepts.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.concepts.neighbours import nearest
from ehr_pipeline.embeddings.geometry import leading_axes
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard

MOST_CONCEPTS = 4096
"""Largest number of concepts in a profile. The most frequent ones are taken, because the leading components depend on them."""
BLOCK, RELATIVES = 1024, 10


def profiled(tokens: NDArray[np.integer], chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the token ids (S,), ascending, that profiles are made of. `tokens` (V,) counts occurrences in the cohort."""
    rows = np.flatnonzero(chosen & (tokens > 0))
    return np.sort(rows[np.argsort(-tokens[rows], kind="stable")[:MOST_CONCEPTS]])


def kinship(concepts: NDArray[np.int64], vectors: NDArray[np.float32], given: float) -> NDArray[np.float32]:
    """Return a matrix (S, S) that spreads values over related concepts: each concept keeps the share 1 - `given` of its value.

    The rest is split among the RELATIVES nearest concepts, in proportion to squared cosine. `vectors` (V, D) are concept vectors;
    cosines are computed after subtracting the mean vector of `concepts` (S,).
    """
    size = len(concepts)
    if size < 2 or not given:
        return np.eye(size, dtype=np.float32)
    moved = (vectors[concepts] - vectors[concepts].mean(0)).astype(np.float32)
    relatives, cosines = nearest(np.arange(size), np.arange(size), moved, RELATIVES)
    weights = np.maximum(cosines, 1e-6) ** 2
    passed = np.zeros((size, size), np.float32)
    passed[np.arange(size)[:, None], relatives] = given * weights / weights.sum(1, keepdims=True)
    passed[np.arange(size), np.arange(size)] = 1 - given
    return passed


def usual(concepts: NDArray[np.int64], tokens: NDArray[np.integer], smoothing: float) -> NDArray[np.float32]:
    """Return the shares (S,) that smoothing adds: `smoothing` times the cohort's shares, from its token counts `tokens` (V,)."""
    counts = tokens[concepts]
    return (smoothing * counts / max(int(counts.sum()), 1)).astype(np.float32)


def profiles(
    shard: Shard,
    patients: NDArray[np.int64],
    concepts: NDArray[np.int64],
    passed: NDArray[np.float32],
    added: NDArray[np.float32],
) -> Iterator[NDArray[np.float32]]:
    """Yield profiles of some patients (rows of a shard) in blocks (p, S); zeros for patients without a profiled concept.

    `passed` (S, S) spreads values over related concepts (see `kinship`); `added` (S,) is added to the shares (see `usual`).
    """
    kept = 1 - added.sum()
    highest = int(max(shard.tokens.max(initial=0), concepts.max(initial=0)))
    place = np.full(highest + 1, len(concepts))
    place[concepts] = np.arange(len(concepts))
    for begin in range(0, len(patients), BLOCK):
        rows = patients[begin : begin + BLOCK]
        owner, tokens = shard.tokens_of(rows)
        wide = len(concepts) + 1  # the last column counts tokens that are not profiled
        counts = np.bincount(owner * wide + place[tokens], minlength=len(rows) * wide)
        counts = counts.reshape(len(rows), wide)[:, :-1]
        total = counts.sum(1, keepdims=True)
        smoothed = np.where(total > 0, kept * (counts / np.maximum(total, 1)) + added, 0)
        yield np.sqrt(smoothed.astype(np.float32) @ passed)


def later(shard: Shard) -> NDArray[np.bool_]:
    """Return flags of the visits of a shard that lie in the later half of the time between the patient's first and last visit."""
    starts, size = shard.patient_start, np.diff(shard.patient_start)
    some = np.flatnonzero(size)
    middle = np.zeros(len(size), np.int64)
    middle[some] = shard.visit_day[starts[some]].astype(np.int64) + shard.visit_day[starts[some + 1] - 1]
    return 2 * shard.visit_day.astype(np.int64) > np.repeat(middle, size)


def mean_age(shard: Shard, patients: NDArray[np.int64], concepts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the mean age (P, 1), in centuries, at which patients' profiled concepts were recorded; 0 without any."""
    highest = int(max(shard.tokens.max(initial=0), concepts.max(initial=0)))
    chosen = np.zeros(highest + 1, bool)
    chosen[concepts] = True
    cumulated = np.concatenate([[0], np.cumsum(chosen[shard.tokens])])[shard.visit_start]
    count = np.diff(cumulated)
    owner = np.repeat(np.arange(len(shard.birth_day)), np.diff(shard.patient_start))
    centuries = (shard.visit_day - shard.birth_day[owner]) / (100 * DAYS_IN_YEAR)
    sums, counts = (np.bincount(owner, weights, len(shard.birth_day)) for weights in (count * centuries, count))
    return (sums / np.maximum(counts, 1))[patients, None].astype(np.float32)


def features(
    shard: Shard,
    patients: NDArray[np.int64],
    *,
    concepts: NDArray[np.int64],
    passed: NDArray[np.float32],
    usual: NDArray[np.float32],
    basis: NDArray[np.float32],
    course: bool,
    ages: bool,
) -> NDArray[np.float32]:
    """Return profiles of some patients (P, K) on the axes of `basis` (S, K), followed by further columns if asked for.

    `course` adds K columns for the change over time: the profile of the later half of the record minus that of the earlier half.
    `ages` adds one column, the `mean_age`.
    """

    def moved(part: Shard) -> NDArray[np.float32]:
        blocks = [block @ basis for block in profiles(part, patients, concepts, passed, usual)]
        return np.concatenate([np.zeros((0, basis.shape[1]), np.float32), *blocks])

    parts = [moved(shard)]
    if course:
        late = later(shard)
        parts.append(moved(shard.keep_visits(late)) - moved(shard.keep_visits(~late)))
    if ages:
        parts.append(mean_age(shard, patients, concepts))
    return np.hstack(parts)


class Gram:
    """Sums Xᵀ X over blocks of profiles, which gives the leading components without holding X in memory."""

    def __init__(self, size: int):
        self._sum = np.zeros((size, size))

    def add(self, block: NDArray[np.float32]) -> None:
        """Add a block (p, S)."""
        self._sum += block.T @ block

    def components(self, count: int) -> NDArray[np.float32]:
        """Return the right singular vectors (S, count) of all blocks stacked, the largest singular value first.

        The sign of each vector is chosen so that its largest entry (by absolute value) is positive; so the result is the same on
        every machine.
        """
        some = leading_axes(self._sum, count)
        largest = some[np.abs(some).argmax(0), np.arange(some.shape[1])]
        return (some * np.where(largest < 0, -1, 1)).astype(np.float32)
