"""The concept profile: the square roots of each chosen concept's share in a patient's record, and their leading components.

Square roots of shares turn Euclidean distances into Hellinger's, which are fit for compositions and do not grow with the length of
a record (Legendre & Gallagher 2001, 'Ecologically meaningful transformations for ordination'). Before, shares p are smoothed with
those of the cohort q, (1 - s) p + s q (Jelinek & Mercer 1980; Zhai & Lafferty 2004): the root is steep at zero, and would make much
of what a short record, or half of one, holds by chance. And a part of each concept's share may go to the concepts that the encoder
holds for its nearest, so that companions count as alike (as in the soft cosine, Sidorov 2014). The mean age at which the concepts
were recorded stands beside them: shares do not know it. Axes: P patients, S chosen concepts.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.concepts.neighbours import nearest
from ehr_pipeline.embeddings.geometry import leading_axes
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard

MOST_CONCEPTS = 4096
"""Of more chosen concepts, those that occur most often are profiled: the leading components hang on them."""
BLOCK, RELATIVES = 1024, 10


def profiled(tokens: NDArray[np.integer], chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The token ids (S,), rising, that profiles are made of. `tokens` (V,) are occurrences in the cohort."""
    there = np.flatnonzero(chosen & (tokens > 0))
    return np.sort(there[np.argsort(-tokens[there], kind="stable")[:MOST_CONCEPTS]])


def kinship(concepts: NDArray[np.int64], vectors: NDArray[np.float32], given: float) -> NDArray[np.float32]:
    """How shares are passed on (S, S): a concept keeps 1 - `given`, and its RELATIVES nearest get the rest by squared cosine.

    `vectors` (V, D) are concept vectors; cosines are taken after the mean of the profiled ones was subtracted.
    """
    size = len(concepts)
    if size < 2 or not given:
        return np.eye(size, dtype=np.float32)
    moved = (vectors[concepts] - vectors[concepts].mean(0)).astype(np.float32)
    found, cosines = nearest(np.arange(size), np.arange(size), moved, RELATIVES)
    weights = np.maximum(cosines, 1e-6) ** 2
    passed = np.zeros((size, size), np.float32)
    passed[np.arange(size)[:, None], found] = given * weights / weights.sum(1, keepdims=True)
    passed[np.arange(size), np.arange(size)] = 1 - given
    return passed


def usual(concepts: NDArray[np.int64], tokens: NDArray[np.integer], smoothing: float) -> NDArray[np.float32]:
    """What smoothing adds to everybody's shares (S,): those of the cohort, whose `tokens` (V,) these are, times `smoothing`."""
    own = tokens[concepts]
    return (smoothing * own / max(int(own.sum()), 1)).astype(np.float32)


def profiles(
    shard: Shard,
    patients: NDArray[np.int64],
    concepts: NDArray[np.int64],
    passed: NDArray[np.float32],
    added: NDArray[np.float32],
) -> Iterator[NDArray[np.float32]]:
    """Profiles of some patients (rows of a shard) in blocks (p, S); rows of zeros for patients without a profiled concept.

    `passed` (S, S) says how shares are passed on (see `kinship`), `added` (S,) what is added to them (see `usual`).
    """
    own = 1 - added.sum()
    highest = int(max(shard.tokens.max(initial=0), concepts.max(initial=0)))
    place = np.full(highest + 1, len(concepts))
    place[concepts] = np.arange(len(concepts))
    starts = shard.patient_tokens
    for begin in range(0, len(patients), BLOCK):
        rows = patients[begin : begin + BLOCK]
        length = starts[rows + 1] - starts[rows]
        where = np.repeat(starts[rows] - (np.cumsum(length) - length), length) + np.arange(int(length.sum()))
        owner = np.repeat(np.arange(len(rows)), length)
        wide = len(concepts) + 1  # the last column takes what is not profiled
        counts = np.bincount(owner * wide + place[shard.tokens[where]], minlength=len(rows) * wide)
        counts = counts.reshape(len(rows), wide)[:, :-1]
        total = counts.sum(1, keepdims=True)
        smoothed = np.where(total > 0, own * (counts / np.maximum(total, 1)) + added, 0)
        yield np.sqrt(smoothed.astype(np.float32) @ passed)


def later(shard: Shard) -> NDArray[np.bool_]:
    """Which visits of a shard lie in the later half of the time between their patient's first and last visit."""
    starts, size = shard.patient_start, np.diff(shard.patient_start)
    some = np.flatnonzero(size)
    middle = np.zeros(len(size), np.int64)
    middle[some] = shard.visit_day[starts[some]].astype(np.int64) + shard.visit_day[starts[some + 1] - 1]
    return 2 * shard.visit_day.astype(np.int64) > np.repeat(middle, size)


def mean_age(shard: Shard, patients: NDArray[np.int64], concepts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Mean age (P, 1), in centuries, at which the profiled concepts of some patients were recorded; 0 for those without any."""
    highest = int(max(shard.tokens.max(initial=0), concepts.max(initial=0)))
    own = np.zeros(highest + 1, bool)
    own[concepts] = True
    told = np.concatenate([[0], np.cumsum(own[shard.tokens])])[shard.visit_start]
    count = np.diff(told)
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
    """Profiles of some patients on the axes of `basis` (S, K): (P, K); with `course` K columns more, with `ages` one more.

    The course is the profile of the later half of the record minus that of the earlier half; the age is `mean_age`.
    """

    def moved(part: Shard) -> NDArray[np.float32]:
        blocks = [block @ basis for block in profiles(part, patients, concepts, passed, usual)]
        return np.concatenate([np.zeros((0, basis.shape[1]), np.float32), *blocks])

    told = [moved(shard)]
    if course:
        late = later(shard)
        told.append(moved(shard.keep_visits(late)) - moved(shard.keep_visits(~late)))
    if ages:
        told.append(mean_age(shard, patients, concepts))
    return np.hstack(told)


class Gram:
    """Sums Xᵀ X over blocks of profiles, from which the leading components follow without holding X."""

    def __init__(self, size: int):
        self._sum = np.zeros((size, size))

    def add(self, block: NDArray[np.float32]) -> None:
        """Take up a block (p, S)."""
        self._sum += block.T @ block

    def components(self, count: int) -> NDArray[np.float32]:
        """The right singular vectors (S, count) of all blocks laid on each other, the largest singular value first.

        Each is turned so that its largest entry is positive, which makes the result the same on every machine.
        """
        some = leading_axes(self._sum, count)
        largest = some[np.abs(some).argmax(0), np.arange(some.shape[1])]
        return (some * np.where(largest < 0, -1, 1)).astype(np.float32)
