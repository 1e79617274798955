"""Exact nearest neighbours of every patient by cosine, from blocked products of the matrix with itself.

Each product of two blocks serves both of them, so only half of the matrix is computed. On processors that multiply 8-bit integers
fast, rounded vectors are multiplied; every patient who may be among the nearest, given the rounding error, is a candidate, and
candidates are compared in float32. Blocks are never sorted: a score is examined only when the largest of its group of 32 reaches
the patient's threshold, which at first comes from a sample and rises as candidates are found. Memory holds one tile for each
thread, and a bounded number of candidates.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from ehr_pipeline.clusters import scores
from ehr_pipeline.clusters.scores import Scores

_log = logging.getLogger("ehr_pipeline")
Vectors = NDArray[np.float32]
Integers = NDArray[np.int64]
Found = tuple[Integers, Integers, Integers]
GROUP = 32
FEW = 3000
TILE = 64 * GROUP
SAMPLE = 4096
CANDIDATES = 6_000_000, 30
"""Number of candidates collected before the worst are dropped: in total, or per patient, whichever gives more. Each takes 8 bytes,
and twice that while sorted."""
MOST = 8
"""At most this many times k candidates are kept for each patient."""
DROPPED = 4
"""Number of low bits of a score that a candidate's integer leaves out."""
SCORE_BITS = 24 - DROPPED
NOBODY = -(2**23)


def exact_neighbours(unit: Vectors, k: int) -> tuple[NDArray[np.int32], Vectors]:
    """Return the rows (n, k) and cosines (n, k) of the k nearest other vectors for each unit vector (n, D), nearest first, ties by
    row.

    k is less than n. On one machine, the number of threads does not change the result, except for the last bit of cosines.
    """
    if len(unit) <= FEW:
        return _of_few(unit, k)
    if scores.multiplies_bytes():
        try:
            return _search(unit, k, scores.rounded(unit, GROUP))
        except _Crowded:
            _log.debug("many neighbours are about equally near: using float32 products")
    return _search(unit, k, scores.plain(unit, GROUP), crowds=True)


def _of_few(unit: Vectors, k: int) -> tuple[NDArray[np.int32], Vectors]:
    """`exact_neighbours` for so few patients that all products fit into memory at once."""
    vectors = torch.from_numpy(np.ascontiguousarray(unit))
    best = (vectors @ vectors.T).fill_diagonal_(-2.0).topk(k, dim=1)
    return best.indices.numpy().astype(np.int32), best.values.numpy()


class _Crowded(Exception):
    """Raised when more patients are about equally near than rounded vectors can distinguish."""


def _search(unit: Vectors, k: int, scores: Scores, crowds: bool = False) -> tuple[NDArray[np.int32], Vectors]:
    n = len(unit)
    with _workers() as pool:
        best = _Best(n, k, scores.margin, crowds, _first_thresholds(scores, n, k, pool))

        def work(top: int) -> None:
            for left in range(top, n, TILE):
                tile = scores.between(top, left, TILE)
                tile[max(n - top, 0) :] = NOBODY
                tile[:, max(n - left, 0) :] = NOBODY
                if left == top:
                    tile.fill_diagonal_(NOBODY)
                else:
                    best.offer(*_above_transposed(tile, best.threshold, top, left))
                best.offer(*_above(tile, best.threshold, top, left))

        list(pool.map(work, range(0, n, TILE)))
        return _nearest(unit, *best.finish(), k, pool)


@contextmanager
def _workers() -> Iterator[ThreadPoolExecutor]:
    """Pool of as many threads as torch uses, each running torch single-threaded: these threads wait less than torch's own."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def _first_thresholds(scores: Scores, n: int, k: int, pool: Executor) -> Integers:
    """Return, for each patient (n,), a score that at least k other patients reach, found in a sample of patients at regular
    distances.

    The sample is divided into groups, and the score is the (k + 1)-th largest of their maxima. These maxima belong to different
    patients, of whom at most one is the patient itself.
    """
    groups = min(SAMPLE, n) // GROUP
    if groups <= k:
        return np.full(n, NOBODY + 1)
    chosen = torch.linspace(0, n - 1, groups * GROUP).long()

    def work(top: int) -> torch.Tensor:
        tile = scores.with_some(top, TILE, chosen)
        return tile.view(len(tile), GROUP, groups).amax(1).topk(k + 1, dim=1).values[:, -1]

    return torch.cat(list(pool.map(work, range(0, n, TILE))))[:n].numpy().astype(np.int64) - 2 * scores.margin


def _limits(threshold: Integers, start: int, count: int) -> NDArray[np.int32]:
    limit = np.full(count, np.iinfo(np.int32).max, np.int32)  # padding never reaches its limit
    part = threshold[start : start + count]
    limit[: len(part)] = part
    return limit


def _above(tile: torch.Tensor, threshold: Integers, top: int, left: int) -> Found:
    """Return the rows, columns and scores in a tile that reach the thresholds of their rows."""
    height, width = tile.shape
    limit = _limits(threshold, top, height)
    largest = tile.view(height, width // GROUP, GROUP).amax(2).numpy()
    row, group = np.divmod(np.flatnonzero(largest >= limit[:, None]), width // GROUP)
    values = tile.numpy().reshape(height, width // GROUP, GROUP)[row, group]
    which, inside = np.nonzero(values >= limit[row][:, None])
    return row[which] + top, group[which] * GROUP + inside + left, values[which, inside].astype(np.int64)


def _above_transposed(tile: torch.Tensor, threshold: Integers, top: int, left: int) -> Found:
    """Columns, rows and scores of a tile that reach the thresholds of their columns."""
    height, width = tile.shape
    limit = _limits(threshold, left, width)
    largest = tile.view(height // GROUP, GROUP, width).amax(1).numpy()
    group, column = np.divmod(np.flatnonzero(largest >= limit), width)
    values = tile.numpy().reshape(height // GROUP, GROUP, width)[group, :, column]
    which, inside = np.nonzero(values >= limit[column][:, None])
    return column[which] + left, group[which] * GROUP + inside + top, values[which, inside].astype(np.int64)


@dataclass
class _Best:
    """The best candidates so far, each as one sortable integer made of patient, score (descending) and the other patient."""

    n: int
    k: int
    margin: int
    """If two scores differ by more than twice this, they are in the same order as their cosines."""
    crowds: bool
    """Whether surplus candidates, which differ only by float32 rounding, may be dropped; otherwise `cut` raises _Crowded."""
    threshold: Integers
    """For each patient (n,), a score that their k nearest neighbours reach."""
    kept: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    waiting: list[Integers] = field(default_factory=list)
    count: int = 0
    lock: Lock = field(default_factory=Lock)

    def __post_init__(self) -> None:
        self.bits = max(int(self.n - 1).bit_length(), 1)

    def offer(self, rows: Integers, others: Integers, scores: Integers) -> None:
        """Add pairs of patients, with their scores, as candidates."""
        keys = ((rows << SCORE_BITS | (2**23 - scores) >> DROPPED) << self.bits) | others
        with self.lock:
            self.waiting.append(keys)
            self.count += len(keys)
            if self.count >= max(CANDIDATES[0], CANDIDATES[1] * self.n):
                self.cut()

    def cut(self) -> None:
        """Keep the candidates that may be among the k nearest, and raise the thresholds."""
        keys = np.concatenate([self.kept, *self.waiting])
        self.kept, self.waiting, self.count = keys[:0], [], 0
        keys.sort()
        row, score = self._row(keys), self._score(keys)
        start = np.searchsorted(row, np.arange(self.n + 1))
        rank = np.arange(len(keys)) - start[row]
        last = rank == self.k - 1
        self.threshold[row[last]] = np.maximum(self.threshold[row[last]], score[last] - 2 * self.margin)
        near = score + 2**DROPPED >= self.threshold[row]
        few = rank < MOST * self.k
        if not self.crowds and (near & ~few).any():
            raise _Crowded
        self.kept = keys[near & few]

    def finish(self) -> tuple[Integers, Integers]:
        """Return the final candidates: rows and others, in order of rows."""
        self.cut()
        return self._row(self.kept), self.kept & ((1 << self.bits) - 1)

    def _row(self, keys: Integers) -> Integers:
        return keys >> (self.bits + SCORE_BITS)

    def _score(self, keys: Integers) -> Integers:
        """Scores, rounded down to whole steps."""
        rounded: Integers = 2**23 - ((keys >> self.bits & (2**SCORE_BITS - 1)) + 1 << DROPPED)
        return rounded


def _nearest(
    unit: Vectors, rows: Integers, others: Integers, k: int, pool: Executor
) -> tuple[NDArray[np.int32], Vectors]:
    """Return the rows (n, k) and cosines (n, k) of the k nearest candidates, by cosines in float32."""
    vectors, n, step = torch.from_numpy(unit), len(unit), 8192
    cosines = np.empty(len(rows), np.float32)

    def work(start: int) -> None:
        pair = slice(start, start + step)
        one, other = vectors[torch.from_numpy(rows[pair])], vectors[torch.from_numpy(others[pair])]
        cosines[pair] = (one * other).sum(1).numpy()

    list(pool.map(work, range(0, len(rows), step)))
    order = np.lexsort((others, -cosines, rows))
    first = np.searchsorted(rows, np.arange(n))
    chosen = order[first[:, None] + np.arange(k)]
    return others[chosen].astype(np.int32), cosines[chosen]


def nearest_of(queries: Vectors, unit: Vectors, k: int) -> Integers:
    """Return the k rows (m, k) of unit vectors (n, D) nearest to unit queries (m, D), nearest first. Exact, in float32."""
    n, count = len(unit), max(2**24 // max(len(unit), 1), 16)
    against = torch.from_numpy(np.ascontiguousarray(unit)).T
    nearest = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), count):
        scores = torch.from_numpy(np.ascontiguousarray(queries[start : start + count])) @ against
        wide = n // GROUP * GROUP
        # Each of the k nearest lies in one of the k groups with the largest maxima, or in the incomplete last group.
        if wide // GROUP > 2 * k:
            groups = scores[:, :wide].reshape(len(scores), -1, GROUP).amax(2).topk(k, dim=1).indices
            inside = (groups[:, :, None] * GROUP + torch.arange(GROUP)).flatten(1)
            rest = torch.arange(wide, n).expand(len(scores), -1)
            candidates = torch.cat([inside, rest], dim=1)
            chosen = scores.gather(1, candidates).topk(k, dim=1).indices
            nearest[start : start + count] = candidates.gather(1, chosen).numpy()
        else:
            nearest[start : start + count] = scores.topk(k, dim=1).indices.numpy()
    return nearest
