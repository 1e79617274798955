"""Features of histories, in blocks of columns. Counts are sparse, so memory grows with the number of recorded concepts.

Axes: n histories, V vocabulary, c counted concepts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from ehr_pipeline.patients.histories import cut
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard
from ehr_pipeline.predictions.rows import FIT, People, Rows

Floats = NDArray[np.float64]
HALF_LIFE = 365.0
"""Half-life in days of a recorded concept: recency is 2^(-days since / HALF_LIFE)."""
FEWEST = 5
"""A concept serves as a feature only if at least this many patients have it."""


@dataclass(frozen=True)
class RecordedConcepts:
    """The concepts in each history: how often, and how recently, they were recorded."""

    counts: sparse.csr_array
    """Visits with each concept (n, V)."""
    recency: sparse.csr_array
    """2^(-days since the last visit with the concept / HALF_LIFE) (n, V)."""
    decayed: sparse.csr_array
    """2^(-days since the visit / HALF_LIFE), summed over all visits with the concept (n, V). This combines count and recency."""
    amounts: Floats
    """Seven columns (n, 7), or six `without_dates`. As log(1 + x): visits, tokens, days from first to last visit, days since the
    last visit, visits in the last year, visits in the last 30 days. Then the index date, in years from 1 January 1970."""
    age: Floats
    """Age in years on the index date (n,)."""
    latest: NDArray[np.int64]
    """Day of the last visit in each history (n,); the first possible day of a history without a visit."""

    def without_dates(self) -> "RecordedConcepts":
        """Return the same without the index date among the amounts."""
        return replace(self, amounts=self.amounts[:, :-1])


def recorded(dataset: Sequence[Path], rows: Rows, size: int) -> RecordedConcepts:
    """Read the histories of some rows. `size` is the size V of the vocabulary."""
    parts = []
    for number, path in enumerate(dataset):
        places = np.flatnonzero(rows.shard == number)
        if len(places):
            shard, mine = Shard.read(path), rows.take(places)
            parts.append(of_histories(cut(shard, mine.row, mine.first, mine.last), mine, size))
    return joined(parts, size)


def joined(parts: Sequence[RecordedConcepts], size: int) -> RecordedConcepts:
    """Concatenate parts. `size` is the size V of the vocabulary."""
    if not parts:
        nothing = sparse.csr_array((0, size))
        return RecordedConcepts(nothing, nothing, nothing, np.zeros((0, 7)), np.zeros(0), np.zeros(0, np.int64))
    stacked = [
        sparse.vstack([getattr(part, name) for part in parts], format="csr")
        for name in ("counts", "recency", "decayed")
    ]
    dense = [np.concatenate([getattr(part, name) for part in parts]) for name in ("amounts", "age", "latest")]
    return RecordedConcepts(*stacked, *dense)


def of_histories(histories: Shard, rows: Rows, size: int) -> RecordedConcepts:
    """Read histories in memory, in the order of the `rows` that they belong to (see `recorded`)."""
    count = len(rows)
    visits, tokens = np.diff(histories.patient_start), np.diff(histories.visit_start)
    owner = np.repeat(np.arange(count), visits)
    day, known = histories.visit_day.astype(np.int64), rows.known
    ago = (known[owner] - day).astype(np.float64)
    key = np.repeat(owner, tokens) * np.int64(size) + histories.tokens
    decay = np.repeat(2.0 ** (-ago / HALF_LIFE), tokens)
    pairs, place, times = np.unique(key, return_inverse=True, return_counts=True)
    latest = np.zeros(len(pairs))
    np.maximum.at(latest, place, decay)
    columns, starts = (pairs % size).astype(np.int32), np.searchsorted(pairs // size, np.arange(count + 1))

    def table(values: NDArray[np.generic]) -> sparse.csr_array:
        return sparse.csr_array((values.astype(np.float32), columns, starts), shape=(count, size))

    first_visit, last_visit = histories.patient_start[:-1], histories.patient_start[1:] - 1
    some = visits > 0
    span, since = np.zeros(count), np.zeros(count)
    span[some] = day[last_visit[some]] - day[first_visit[some]]
    since[some] = np.maximum(known[some] - day[last_visit[some]], 0)
    within = [np.bincount(owner, ago < days, count) for days in (365, 30)]
    sizes = np.bincount(owner, tokens, count)
    amounts = np.log1p(np.stack([visits, sizes, span, since, *within], axis=1).astype(np.float64))
    return RecordedConcepts(
        table(times.astype(np.float64)),
        table(latest),
        table(np.bincount(place, decay, len(pairs))),
        np.column_stack([amounts, rows.index / DAYS_IN_YEAR]),
        (rows.index - histories.birth_day) / DAYS_IN_YEAR,
        np.where(some, day[np.maximum(last_visit, 0)] if len(day) else 0, rows.first),
    )


def counted_concepts(recorded_concepts: RecordedConcepts, rows: Rows, most: int) -> NDArray[np.int64]:
    """Return the concepts (c,) that serve as features: those that most patients in the training set have. Ignores labels."""
    counts = recorded_concepts.counts[rows.on(FIT)]
    holders = np.bincount(counts.indices, minlength=counts.shape[1])
    order = np.argsort(-holders, kind="stable")[:most]
    return np.sort(order[holders[order] >= FEWEST])


def history_of(recorded_concepts: RecordedConcepts, tokens: NDArray[np.integer]) -> Floats:
    """Return features of the outcome's earlier records (n, 3): decayed count, log(1 + visits), and recency of the last one."""
    columns = np.asarray(tokens, np.int64)
    if not len(columns):
        return np.zeros((recorded_concepts.counts.shape[0], 3))
    decayed, counts = (
        np.asarray(part[:, columns].sum(axis=1)).ravel()
        for part in (recorded_concepts.decayed, recorded_concepts.counts)
    )
    recency = recorded_concepts.recency[:, columns].max(axis=1).toarray().ravel()
    return np.stack([decayed, np.log1p(counts), recency], axis=1)


def age_and_sex(recorded_concepts: RecordedConcepts, people: People) -> Floats:
    """Return four columns (n, 4): age, age squared, sex, and age times sex."""
    decades = (recorded_concepts.age - 50) / 20
    return np.stack([decades, decades**2, people.female, decades * people.female], axis=1)
