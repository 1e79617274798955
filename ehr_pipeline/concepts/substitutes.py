"""Find substitutes: concepts recorded in place of each other, such as synonymous codes, of which each practice prefers one.

Concept counts, and vectors learned from them, mistake a practice's habit for a difference between patients. Two concepts are
substitutes when both conditions hold:

- They avoid each other. If one record of each concept is drawn at random, both come from the same practice at most `MAX_SHARED`
  times as often as expected by chance, and at least `DEVIATIONS` standard deviations less often.
- They occur in the same contexts (Harris 1954, 'Distributional structure'). A concept's context is its positive pointwise mutual
  information with other concepts of the same visit (Church & Hanks 1990; Levy & Goldberg 2014), and the cosine of both contexts is
  at least `MIN_COSINE`. The information is computed from a lower bound on the common visits (`BOUND`); otherwise the many weak
  associations drown the rest.

Related concepts that one practice records together also share contexts, but do not avoid each other. Conditions that differ by
region avoid each other, but occur in different contexts. Axes: V token ids, H practices, N candidates.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary
from ehr_pipeline.work.progress import Progress

SAMPLED_PATIENTS = 50_000
"""Maximum sample size, from the whole extract: the records of a cohort alone may not show what a code means."""
FEWEST_PATIENTS, MOST_CANDIDATES = 50, 8192
"""Minimum number of sampled patients with a candidate (rarer ones show no habit); maximum number of candidates."""
MAX_SHARED, MIN_COSINE, DEVIATIONS = 2 / 3, 0.5, 5
BOUND = 3
"""Standard deviations subtracted from the number of two concepts' shared visits, to allow for chance."""
MOST_HABITS = 4096
"""Maximum number of practices: those with the most patients. A practice with a single patient shows no habit."""
BLOCK, HELD = 1024, 1 << 22
FILE = "substitutes.csv"
"""Name of the file of substitutes."""


@dataclass(frozen=True)
class Substitutes:
    """Pairs of token ids (n, 2), each pair once, with the evidence for it."""

    pairs: NDArray[np.int64]
    shared_practices: NDArray[np.float64]
    """How often (n,) records of the two concepts come from the same practice, as a multiple of chance."""
    cosine: NDArray[np.float64]
    """Cosine (n,) of the two concepts' contexts."""

    @classmethod
    def none(cls) -> "Substitutes":
        """Return no pairs."""
        return cls(np.zeros((0, 2), np.int64), np.zeros(0), np.zeros(0))

    def extend(self, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return flags (V,) of the chosen token ids and of their substitutes."""
        extended = chosen.copy()
        for own, other in (self.pairs.T, self.pairs.T[::-1]):
            extended[other[chosen[own]]] = True
        return extended

    def exchange(self, concepts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return a matrix (S, S) that divides each concept's share equally between itself and its substitutes.

        `concepts` (S,) are token ids in ascending order; substitutes that are not among them get nothing.
        """
        links = np.eye(len(concepts), dtype=np.float32)
        both = self.pairs[np.isin(self.pairs, concepts).all(1)]
        one, other = np.searchsorted(concepts, both).T
        links[one, other] = links[other, one] = 1
        kept: NDArray[np.float32] = links / links.sum(1, keepdims=True)
        return kept

    def write(self, folder: Path, vocabulary: Vocabulary) -> None:
        """Write a CSV file for readers: the two concepts of each pair, their names, and the evidence for the pair."""
        pairs = ([vocabulary.concepts[token - FIRST_CONCEPT] for token in pair] for pair in self.pairs.tolist())
        rows = (
            (one.concept, one.name, other.concept, other.name, f"{together:.3f}", f"{alike:.3f}")
            for (one, other), together, alike in zip(pairs, self.shared_practices, self.cosine, strict=True)
        )
        spreadsheet.write(folder / FILE, schemas.SUBSTITUTES, rows)


def read_substitutes(folder: Path) -> list[dict[str, Any]]:
    """Read the pairs from the folder of a `patient_embeddings` artifact: `schemas.SUBSTITUTES`."""
    return list(spreadsheet.read(folder / FILE, schemas.SUBSTITUTES))


Learns = Callable[[Path], NDArray[np.bool_]]
"""A function from a shard to flags, one per row: is this patient used for training?"""


def everybody(path: Path) -> NDArray[np.bool_]:
    """Return flags that select all patients of a shard."""
    return np.ones(schemas.read(path, ["patient_id"]).num_rows, bool)


def find(dataset: list[Path], attribute: str, size: int, seed: int, learns: Learns = everybody) -> Substitutes | None:
    """Find the substitutes among token ids below `size` in the shards of a patient data set.

    `attribute` is a patient column such as the practice, whose values may differ in recording habits; `learns` selects the patients
    used. Returns None if substitutes cannot be determined: the column is missing, holds no text or has fewer than two values with
    several patients each, or fewer than two concepts are frequent enough.
    """
    habits = _habits(dataset, attribute, learns)
    if len(habits) < 2:
        return None
    rows, progress = list(_sampled(dataset, seed, learns)), Progress("looking for substitutes", 2 * len(dataset))
    patients = np.zeros(size, np.int64)
    for path, own in zip(dataset, rows, strict=True):
        patients += np.bincount(_tokens(_part(path, own, size))[1], minlength=size)
        progress.advance(1)
    candidates = np.flatnonzero(patients >= FEWEST_PATIENTS)
    candidates = np.sort(candidates[np.argsort(-patients[candidates], kind="stable")[:MOST_CANDIDATES]])
    if len(candidates) < 2:
        return None
    together, alike = _SharedPractices(habits, candidates), _Contexts(candidates)
    for path, own in zip(dataset, rows, strict=True):
        part = _part(path, own, size)
        together.add(part, _attribute(path, attribute))
        alike.add(part)
        progress.advance(1)
    return _pairs(candidates, together, alike)


def habits_of(patients: pa.Table, attribute: str) -> list[str | None] | None:
    """The habit, such as the practice, of each patient; None if the table has no such column of text."""
    if attribute not in patients.schema.names or patients.schema.field(attribute).type != pa.string():
        return None
    found: list[str | None] = patients.column(attribute).to_pylist()
    return found


def _habits(dataset: list[Path], attribute: str, learns: Learns) -> list[str]:
    """Return the values of at least two patients in a text column, most frequent first; [] if there is no such column."""
    patients = Counter[str]()
    for path in dataset:
        own = habits_of(schemas.read(path), attribute)
        if own is None:
            return []
        patients.update(name for name, used in zip(own, learns(path), strict=True) if used and name is not None)
    return [name for name, count in patients.most_common(MOST_HABITS) if count > 1]


def _sampled(dataset: list[Path], seed: int, learns: Learns = everybody) -> Iterator[NDArray[np.bool_]]:
    """Yield flags of the sampled patients, shard by shard."""
    flags = [learns(path) for path in dataset]
    counts = [int(own.sum()) for own in flags]
    share = min(SAMPLED_PATIENTS / max(sum(counts), 1), 1.0)
    rng = np.random.default_rng([seed, 0x5B5])
    for own, count in zip(flags, counts, strict=True):
        looked_at = np.zeros(len(own), bool)
        looked_at[own] = rng.permutation(count) < np.ceil(share * count)
        yield looked_at


def _part(path: Path, patients: NDArray[np.bool_], size: int) -> Shard:
    """Return the visits of the flagged patients (one flag per row), without token ids of `size` or higher."""
    shard = Shard.read(path)
    return shard.keep_visits(np.repeat(patients, np.diff(shard.patient_start))).below(size)


def _attribute(path: Path, name: str) -> list[str | None]:
    found: list[str | None] = schemas.read(path, [name]).column(name).to_pylist()
    return found


def _tokens(shard: Shard) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct pairs of patient row and token id, as two arrays."""
    owner = np.repeat(np.arange(len(shard.birth_day)), np.diff(shard.patient_tokens))
    wide = int(shard.tokens.max(initial=0)) + 1
    both = np.unique(owner * wide + shard.tokens)
    return both // wide, both % wide


class _SharedPractices:
    """Counts how often records of two concepts come from the same practice."""

    def __init__(self, habits: list[str], candidates: NDArray[np.int64]):
        self._number = {name: place for place, name in enumerate(habits)}
        self._candidates = candidates
        self._records = np.zeros((len(habits), len(candidates)), np.int32)
        self._patients = np.zeros(len(candidates), np.int64)

    def add(self, part: Shard, habit: list[str | None]) -> None:
        """Add a shard; `habit` is the practice of each of its patients."""
        practice = np.array([self._number.get(name, -1) if name is not None else -1 for name in habit], np.int64)
        owner = np.repeat(np.arange(len(practice)), np.diff(part.patient_tokens))
        kept = np.isin(part.tokens, self._candidates) & (practice[owner] >= 0)
        owner, place = owner[kept], np.searchsorted(self._candidates, part.tokens[kept])
        np.add.at(self._records, (practice[owner], place), 1)
        once = np.unique(owner * len(self._candidates) + place) % len(self._candidates)
        self._patients += np.bincount(once, minlength=len(self._candidates))

    def block(self, begin: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Compare BLOCK candidates, starting with the candidate `begin`, with all candidates.

        Returns how often records of two candidates come from the same practice, as a ratio to chance, and how many standard
        deviations this lies below chance. All of a patient's records come from one practice, so chance assigns patients, not
        records, to practices.
        """
        every = self._records.astype(np.float64)
        share = every.sum(1) / max(every.sum(), 1)  # each practice's share of all records
        total, own = np.maximum(every.sum(0), 1), slice(begin, begin + BLOCK)
        # The mean number of records of the second concept in the practice of a random record of the first: observed `seen`; by
        # chance `mean`.
        seen = every[:, own].T @ every / total[own, None]
        mean = share @ every
        spread = np.sqrt(np.maximum(share @ every**2 - mean**2, 0) / np.maximum(self._patients[own, None], 1))
        return seen / (total * (share**2).sum()), (mean - seen) / np.maximum(spread, 1e-12)


class _Contexts:
    """Contexts of concepts: the other concepts recorded in the same visits."""

    def __init__(self, candidates: NDArray[np.int64]):
        self._candidates, self._visits, self._held = candidates, 0, 0
        self._both = np.zeros((len(candidates), len(candidates)), np.float32)
        self._parts: list[sparse.csr_array] = []

    def add(self, part: Shard) -> None:
        """Add a shard."""
        kept = np.isin(part.tokens, self._candidates)
        visit = np.repeat(np.arange(len(part.visit_day)), np.diff(part.visit_start))[kept]
        place = np.searchsorted(self._candidates, part.tokens[kept])
        shape = (len(part.visit_day), len(self._candidates))
        self._parts.append(sparse.csr_array((np.ones(len(visit), np.float32), (visit, place)), shape=shape))
        self._visits += len(part.visit_day)
        self._held += len(visit)
        if self._held >= HELD:
            self._count()

    def _count(self) -> None:
        """Count many small shards at once, because adding to the large matrix of concept pairs is slow."""
        counted = sparse.vstack([*self._parts, sparse.csr_array((0, len(self._candidates)), dtype=np.float32)], "csr")
        self._both += (counted.T @ counted).toarray()
        self._parts, self._held = [], 0

    def contexts(self) -> sparse.csr_array:
        """Return context vectors (N, N), one row of length 1 per concept; all zeros for a concept without any association."""
        self._count()
        alone = self._both.diagonal().astype(np.float64)
        blocks = []
        for begin in range(0, len(alone), BLOCK):
            both = self._both[begin : begin + BLOCK].astype(np.float64)
            chance = np.outer(alone[begin : begin + BLOCK], alone) / max(self._visits, 1)
            least = np.maximum(both - BOUND * np.sqrt(both), 0)
            least[np.arange(len(both)), begin + np.arange(len(both))] = 0
            information = np.log(np.maximum(least / np.maximum(chance, 1e-12), 1))
            length = np.linalg.norm(information, axis=1, keepdims=True)
            blocks.append(sparse.csr_array(information / np.maximum(length, 1e-12)))
        return sparse.csr_array(sparse.vstack(blocks))


def _pairs(candidates: NDArray[np.int64], together: _SharedPractices, alike: _Contexts) -> Substitutes:
    contexts = alike.contexts()
    found: list[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]] = []
    for begin in range(0, len(candidates), BLOCK):
        times, below = together.block(begin)
        cosines = (contexts[begin : begin + BLOCK] @ contexts.T).toarray()
        one, other = np.nonzero((times <= MAX_SHARED) & (below >= DEVIATIONS) & (cosines >= MIN_COSINE))
        once = begin + one < other
        one, other = one[once], other[once]
        found.append((candidates[np.stack([begin + one, other], 1)], times[one, other], cosines[one, other]))
    pairs, times, cosines = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Substitutes(pairs, times, cosines)
