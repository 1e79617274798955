"""Read the patient data set: the visits of a shard as flat arrays. No polars here: GPU workers use this module.

The file is mapped and nothing is copied, so memory does not grow with the data set. Axes: C chunks of tokens.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.tables import schemas

DAYS_IN_YEAR = 365.2425
UNITS_IN_YEAR = {"year": 1, "quarter": 4}


@dataclass(frozen=True)
class Shard:
    """The visits of one shard as flat arrays that share the memory of the mapped file."""

    tokens: NDArray[np.int32]
    visit_start: NDArray[np.int32]
    """First token of each visit, and the number of tokens at the end."""
    visit_day: NDArray[np.int32]
    patient_start: NDArray[np.int32]
    """First visit of each patient, and the number of visits at the end."""
    birth_day: NDArray[np.int32]
    birth_year_only: NDArray[np.bool_]

    @classmethod
    def read(cls, path: Path) -> "Shard":
        """Map a shard of `patient_dataset`."""
        table = schemas.read(path, ["birth_date", "birth_precision", "visits"]).combine_chunks()
        if not table.num_rows:
            empty, none = np.zeros(1, np.int32), np.zeros(0, np.int32)
            return cls(none, empty, none, empty, none, np.zeros(0, bool))
        visits = table.column("visits").chunk(0)
        concepts = visits.values.field("concepts")
        precision = table.column("birth_precision").to_numpy()
        return cls(
            tokens=concepts.values.to_numpy(),
            visit_start=concepts.offsets.to_numpy(),
            visit_day=visits.values.field("date").cast(pa.int32()).to_numpy(),
            patient_start=visits.offsets.to_numpy(),
            birth_day=table.column("birth_date").cast(pa.int32()).to_numpy(),
            birth_year_only=precision == "year",
        )

    @property
    def patient_tokens(self) -> NDArray[np.int64]:
        """Index of each patient's first token, followed by the total number of tokens."""
        return self.visit_start[self.patient_start].astype(np.int64)

    def mean_days(self) -> NDArray[np.float64]:
        """Return the mean day over each patient's tokens (P,), in days from 1970-01-01; 0 for a patient without tokens."""
        sizes = np.diff(self.patient_tokens)
        owner = np.repeat(np.arange(len(sizes)), np.diff(self.patient_start))
        days = np.bincount(owner, self.visit_day.astype(float) * np.diff(self.visit_start), len(sizes))
        return np.asarray(days / np.maximum(sizes, 1), np.float64)

    def tokens_of(self, patients: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Return the tokens of some patients (rows), patient by patient, each with the patient's position in `patients`."""
        starts = self.patient_tokens
        begin, end = starts[patients], starts[patients + 1]
        return np.repeat(np.arange(len(patients)), end - begin), self.tokens[ranges(begin, end)]

    def take(self, patients: NDArray[np.integer]) -> "Shard":
        """Return a shard of some patients (rows), in any order, repeats allowed."""
        return self.between(patients, self.patient_start[patients], self.patient_start[patients + 1])

    def between(self, patients: NDArray[np.integer], begin: NDArray[np.integer], end: NDArray[np.integer]) -> "Shard":
        """Return a shard of some patients (rows, as in `take`) with a copy of their visits from `begin` to before `end`."""
        visit = ranges(begin, end)
        first, last = self.visit_start[visit], self.visit_start[visit + 1]
        return Shard(
            tokens=self.tokens[ranges(first, last)],
            visit_start=starts_of(last - first),
            visit_day=self.visit_day[visit],
            patient_start=starts_of(end - begin),
            birth_day=self.birth_day[patients],
            birth_year_only=self.birth_year_only[patients],
        )

    def keep_visits(self, kept: NDArray[np.bool_]) -> "Shard":
        """Return the shard with only the flagged visits; patients without a visit stay, with no tokens."""
        return self.keep_tokens(np.repeat(kept, np.diff(self.visit_start)))

    def keep_tokens(self, kept: NDArray[np.bool_]) -> "Shard":
        """Return the shard with only the flagged tokens, without visits that have none left."""
        starts = starts_of(kept)[self.visit_start]
        has_tokens = np.diff(starts) > 0
        return replace(
            self,
            tokens=self.tokens[kept],
            visit_start=np.append(starts[:-1][has_tokens], starts[-1]),
            visit_day=self.visit_day[has_tokens],
            patient_start=starts_of(has_tokens)[self.patient_start],
        )

    def below(self, tokens: int) -> "Shard":
        """Return the shard without token ids of `tokens` or more, which an older encoder lacks."""
        known = self.tokens < tokens
        return self if known.all() else self.keep_tokens(known)

    def ages(
        self,
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        patients: NDArray[np.int64],
        unit: Literal["year", "quarter"],
    ) -> NDArray[np.int64]:
        """Return the age, in whole units, at which each token of some chunks was recorded, chunk by chunk.

        Chunks (C,) begin at token `starts`, have `lengths` tokens and belong to `patients`. Ages are computed once per visit. If
        only the birth year is known, an age is the difference of calendar years.
        """
        visit, visits, tokens = self._visits(starts, lengths)
        owner = np.repeat(patients, visits)
        age = ages_at(self.visit_day[visit], self.birth_day[owner], self.birth_year_only[owner], unit)
        return np.repeat(age, tokens)

    def visit_numbers(self, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the index of each token's visit, from 0 in each chunk (see `ages`), chunk by chunk."""
        visit, visits, tokens = self._visits(starts, lengths)
        first = visit[np.cumsum(visits) - visits]
        return np.repeat(visit - np.repeat(first, visits), tokens)

    def _visits(
        self, starts: NDArray[np.int64], lengths: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the visits of some chunks, the number of visits per chunk, and the number of a chunk's tokens in each visit."""
        ends = starts + lengths
        # Cast to the type of `visit_start`: otherwise numpy would convert the whole of `visit_start` on every call.
        bounds = starts.astype(self.visit_start.dtype), ends.astype(self.visit_start.dtype)
        first = np.searchsorted(self.visit_start, bounds[0], side="right") - 1
        visits = np.searchsorted(self.visit_start, bounds[1], side="left") - first
        visit = ranges(first, first + visits)
        tokens = np.minimum(self.visit_start[visit + 1], np.repeat(ends, visits)) - np.maximum(
            self.visit_start[visit], np.repeat(starts, visits)
        )
        return visit, visits, tokens


def ranges(begin: NDArray[np.integer], end: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return the integers from each begin to before its end, range by range."""
    sizes = (end - begin).astype(np.int64)
    indices: NDArray[np.int64] = np.arange(int(sizes.sum())) + np.repeat(begin - (np.cumsum(sizes) - sizes), sizes)
    return indices


def starts_of(sizes: NDArray[np.generic]) -> NDArray[np.int32]:
    """Return where each of consecutive parts of these sizes begins, and where the last one ends."""
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)


def ages_at(
    day: NDArray[np.int32],
    birth_day: NDArray[np.int32],
    birth_year_only: NDArray[np.bool_],
    unit: Literal["year", "quarter"],
) -> NDArray[np.int64]:
    """Return ages (n,) on days (n,), in whole units. If only the birth year is known, an age is the difference of calendar
    years."""
    scale = UNITS_IN_YEAR[unit]
    exact = np.floor((day - birth_day) * (scale / DAYS_IN_YEAR)).astype(np.int64)
    years = (_years(day) - _years(birth_day)).astype(np.int64)
    return np.where(birth_year_only, years * scale, exact)


def _years(days: NDArray[np.int32]) -> NDArray[np.int32]:
    return days.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int32) + np.int32(1970)
