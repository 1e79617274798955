"""Test whether concepts with similar vectors are recorded together, in visits of patients that the encoder was not trained on.

Each pair of a concept and its neighbour is compared with pairs of the same concept and other concepts that are recorded in about as
many visits. If nearness meant nothing, the neighbour could be any of these concepts; drawing among them gives a permutation test.
The interval of the ratio uses percentiles over resampled patients, not visits, since visits of one patient are not independent
(Efron and Tibshirani 1993, chapter 13). Axes: N visits, V token ids, P patients, K pairs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse, vstack

from ehr_pipeline.patients.settings import TRAIN
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT

MATCHED = 24
"""Number of concepts from which substitutes for a neighbour are drawn: those with the most similar numbers of visits."""
DRAWS = 400
"""Number of permutations, and of resamples of patients."""
BLOCK = 10_000
MOST_VISITS = 200_000
"""Maximum number of visits, to bound memory and time: those of the first patients of each shard."""
FEWEST_PATIENTS, FEWEST_EXPECTED = 50, 30.0
"""The test needs this many held-out patients, and this many visits expected by chance with both concepts of a pair."""


@dataclass(frozen=True)
class JointVisits:
    """How often concepts with similar vectors are recorded in one visit, compared with other pairs of equally frequent concepts."""

    patients: int
    """Number of held-out patients."""
    pairs: int
    ratio: float
    """Number of visits in which pairs are recorded together, divided by the number expected by chance."""
    low: float
    high: float
    """Upper end of the 95 % interval of the ratio; `low` is the lower end."""
    p: float
    """P value: the share of permutations, including the observed pairs, with pairs recorded together at least as often."""


@dataclass(frozen=True)
class Visits:
    """Visits of some patients: the concepts recorded in each visit (N, V), and the index of the visit's patient (N,)."""

    concepts: csr_array
    patient: NDArray[np.int64]

    @property
    def patients(self) -> int:
        """Number of patients whose visits these are."""
        return int(self.patient.max(initial=-1)) + 1


def held_out(shards: Iterable[tuple[Path, Path]], size: int) -> Visits:
    """Return the visits of patients that the encoder was not trained on.

    `shards` yields each shard of the data set with the shard that contains its patients' sets. `size` is the number of
    token ids. Equally many patients are taken from each shard; their order in a shard is unrelated to anything.
    """
    paths = list(shards)
    found, owners, before = [csr_array((0, size), dtype=np.int32)], [np.zeros(0, np.int64)], 0
    for data, sides in paths:
        side = schemas.read(sides, ["side"]).column("side").to_pylist()
        visits = _visits(Shard.read(data), np.flatnonzero([name != TRAIN for name in side]), size)
        few = visits.patient < np.searchsorted(np.bincount(visits.patient).cumsum(), MOST_VISITS // len(paths)) + 1
        found.append(visits.concepts[few])
        owners.append(visits.patient[few] + before)
        before = int(owners[-1].max(initial=before - 1)) + 1
    return Visits(csr_array(vstack(found, format="csr")), np.concatenate(owners))


def _visits(shard: Shard, patients: NDArray[np.int64], size: int) -> Visits:
    """Return the visits of some patients (rows of a shard). The tokens of each visit are distinct."""
    part = shard.take(patients)
    owner = np.repeat(np.arange(len(patients)), np.diff(part.patient_start))
    ones = np.ones(len(part.tokens), np.int32)
    return Visits(csr_array((ones, part.tokens, part.visit_start), shape=(len(owner), size)), owner)


def joint_visits(
    visits: Visits, concepts: NDArray[np.int64], neighbours: NDArray[np.int64], seed: int
) -> JointVisits | None:
    """Test whether `concepts` (K,) and their `neighbours` (K,), as token ids, are recorded in one visit more often than by chance.

    Returns None with too few patients, or with pairs so rare that chance would hardly record them together.
    """
    rng = np.random.default_rng([seed, 0x706E])
    if visits.patients < FEWEST_PATIENTS or not len(concepts):
        return None
    matched = _matched(visits.concepts, concepts, neighbours, rng)
    own, row = np.unique(concepts, return_inverse=True)
    recorded = np.asarray(visits.concepts.sum(axis=0)).ravel()
    both = (visits.concepts[:, own].T @ visits.concepts).tocsr()
    observed = _at(both, row, neighbours)
    others = _at(both, np.repeat(row, MATCHED), matched.ravel()).reshape(matched.shape)
    scale = recorded[neighbours][:, None] / np.maximum(recorded[matched], 1)  # matches are not quite as frequent
    expected = others * scale  # (K, MATCHED)
    chance = float(expected.mean(1).sum())
    if chance < FEWEST_EXPECTED:
        return None
    drawn = expected[np.arange(len(expected)), rng.integers(0, MATCHED, (DRAWS, len(expected)))].sum(1)
    p = (1 + int((drawn >= observed.sum()).sum())) / (DRAWS + 1)
    shape = (len(own), len(recorded))
    pairs = csr_array((np.ones(len(row)), (row, neighbours)), shape=shape)
    by_chance = csr_array(((scale / MATCHED).ravel(), (np.repeat(row, MATCHED), matched.ravel())), shape=shape)
    one, other = _by_patient(visits, own, pairs), _by_patient(visits, own, by_chance)
    everybody = visits.patients
    sampled = rng.multinomial(everybody, np.full(everybody, 1 / everybody), DRAWS)
    ratios = (sampled @ one) / np.maximum(sampled @ other, 1e-9)
    low, high = np.quantile(ratios, (0.025, 0.975)).tolist()
    return JointVisits(visits.patients, len(concepts), float(observed.sum()) / chance, low, high, p)


def _matched(
    recorded: csr_array, concepts: NDArray[np.int64], neighbours: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int64]:
    """For each pair, return MATCHED token ids (K, MATCHED) that are recorded in about as many visits as the neighbour.

    Neither the concept nor any of its neighbours is among them. Equally frequent concepts are in random order.
    """
    count = np.asarray(recorded.sum(axis=0)).ravel()[FIRST_CONCEPT:]
    order = np.lexsort((rng.random(len(count)), count)) + FIRST_CONCEPT
    place = np.empty(len(count) + FIRST_CONCEPT, np.int64)
    place[order] = np.arange(len(order))
    near: dict[int, set[int]] = {}
    for concept, neighbour in zip(concepts.tolist(), neighbours.tolist(), strict=True):
        near.setdefault(concept, {concept}).add(neighbour)
    pairs = zip(concepts.tolist(), neighbours.tolist(), strict=True)
    return np.array([_around(order, int(place[other]), near[concept]) for concept, other in pairs], np.int64)


def _around(order: NDArray[np.int64], place: int, but: set[int]) -> list[int]:
    """Return the MATCHED token ids nearest to a position in `order`, without those in `but`; ids repeat if too few remain."""
    left, right, given = place, place + 1, list[int]()
    while len(given) < MATCHED and (left >= 0 or right < len(order)):
        given += [int(order[at]) for at in (left, right) if 0 <= at < len(order) and int(order[at]) not in but]
        left, right = left - 1, right + 1
    given = given or [int(order[place])]
    return [given[number % len(given)] for number in range(MATCHED)]


def _at(table: csr_array, row: NDArray[np.int64], column: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the values at (row, column) of a sparse table, each (K,)."""
    found = table[row, column]
    return np.asarray(found.todense() if issparse(found) else found, np.float64).ravel()


def _by_patient(visits: Visits, own: NDArray[np.int64], links: csr_array) -> NDArray[np.float64]:
    """Return how often each patient (P,) has linked concepts in one visit. `links` (own, V) has the weight of each pair."""
    found = np.zeros(visits.patients)
    for begin in range(0, visits.concepts.shape[0], BLOCK):
        block = visits.concepts[begin : begin + BLOCK]
        each = np.asarray((block[:, own] @ links).multiply(block).sum(axis=1)).ravel()
        found += np.bincount(visits.patient[begin : begin + BLOCK], each, minlength=visits.patients)
    return found
