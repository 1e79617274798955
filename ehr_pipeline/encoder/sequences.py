"""The patient data set as chunks of tokens with the ages at which they were recorded, mapped into memory.

Axes: N tokens of a selection, C chunks. Nothing is copied but what a batch needs, so memory does not grow with the data set.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline import schemas

DAYS_IN_YEAR = 365.2425
UNITS_IN_YEAR = {"year": 1, "quarter": 4}


@dataclass(frozen=True)
class Shard:
    """The visits of one shard as flat arrays that share its memory."""

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
        """First token of each patient, and the number of tokens at the end."""
        starts: NDArray[np.int64] = self.visit_start[self.patient_start].astype(np.int64)
        return starts

    @cached_property
    def _visit_year(self) -> NDArray[np.int32]:
        return _years(self.visit_day)

    def keep_visits(self, kept: NDArray[np.bool_]) -> "Shard":
        """The shard with only some of its visits (one flag for each); patients without any stay, with no token."""
        size = np.diff(self.visit_start)
        starts = np.concatenate([[0], np.cumsum(size[kept])]).astype(np.int32)
        visits_before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int32)
        return replace(
            self,
            tokens=self.tokens[np.repeat(kept, size)],
            visit_start=starts,
            visit_day=self.visit_day[kept],
            patient_start=visits_before[self.patient_start],
        )

    def ages(
        self, tokens: NDArray[np.int64], patients: NDArray[np.int64], unit: Literal["year", "quarter"]
    ) -> NDArray[np.int64]:
        """Age (N,) in whole units at which tokens (N,) of patients (N,) were recorded.

        Where only the birth year is known, it is the difference of calendar years.
        """
        visit = np.searchsorted(self.visit_start, tokens, side="right") - 1
        days = self.visit_day[visit] - self.birth_day[patients]
        scale = UNITS_IN_YEAR[unit]
        exact = np.floor(days * (scale / DAYS_IN_YEAR)).astype(np.int64)
        years = self._visit_year[visit].astype(np.int64) - _years(self.birth_day)[patients]
        return np.where(self.birth_year_only[patients], years * scale, exact)


def _years(days: NDArray[np.int32]) -> NDArray[np.int32]:
    return days.astype("datetime64[D]").astype("datetime64[Y]").astype(np.int32) + np.int32(1970)


@dataclass(frozen=True)
class Chunks:
    """Pieces of patients' token sequences, each at most `context` long, in order."""

    shard: NDArray[np.int32]
    patient: NDArray[np.int64]
    """Row of the patient in its shard."""
    start: NDArray[np.int64]
    length: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)

    def __getitem__(self, index: NDArray[np.integer] | slice) -> "Chunks":
        return Chunks(self.shard[index], self.patient[index], self.start[index], self.length[index])


def cut(shard: Shard, number: int, patients: NDArray[np.integer], context: int) -> Chunks:
    """The chunks of some patients (rows) of a shard."""
    first = shard.patient_tokens[patients]
    length = shard.patient_tokens[np.asarray(patients) + 1] - first
    pieces = -(-length // context)
    owner = np.repeat(np.arange(len(length)), pieces)
    piece = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    start = first[owner] + piece * context
    return Chunks(
        shard=np.full(len(owner), number, np.int32),
        patient=np.asarray(patients, np.int64)[owner],
        start=start,
        length=np.minimum(context, first[owner] + length[owner] - start),
    )


def concatenate(parts: Sequence[Chunks]) -> Chunks:
    """Chunks of several shards as one."""
    return Chunks(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("shard", "patient", "start", "length"))
    )


@dataclass(frozen=True)
class Selection:
    """Tokens of some chunks, one chunk after the other."""

    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    """Age index + 1, since the stock model never trains the row of the padding id, which is 0."""
    clipped: int
    """Tokens whose age lay outside the position table."""


@dataclass(frozen=True)
class Sequences:
    """A patient data set, or the part of it on one side of a split."""

    shards: tuple[Shard, ...]
    chunks: Chunks
    age_unit: Literal["year", "quarter"]
    max_positions: int

    @classmethod
    def open(
        cls,
        dataset: Path,
        context: int,
        age_unit: Literal["year", "quarter"],
        max_positions: int,
        split: Path | None = None,
        side: str = "",
    ) -> "Sequences":
        """Map the shards of `dataset` (a folder of Arrow files), keeping the patients on one `side` of a `split` if given."""
        paths = sorted(dataset.glob("*.arrow"))
        shards = tuple(Shard.read(path) for path in paths)
        parts = []
        for number, (path, shard) in enumerate(zip(paths, shards, strict=True)):
            rows = np.arange(len(shard.birth_day))
            if split is not None:
                sides = schemas.read(split / path.name, ["side"]).column("side").to_numpy()
                rows = np.flatnonzero(sides == side)
            parts.append(cut(shard, number, rows, context))
        return cls(shards, concatenate(parts), age_unit, max_positions)

    @property
    def token_count(self) -> int:
        """Tokens over all chunks."""
        return int(self.chunks.length.sum())

    def select(self, chunks: Chunks) -> Selection:
        """Tokens and positions of some chunks, in their order."""
        ends = np.cumsum(chunks.length)
        inside = np.arange(int(chunks.length.sum())) - np.repeat(ends - chunks.length, chunks.length)
        tokens = np.empty(len(inside), np.int64)
        ages = np.empty(len(inside), np.int64)
        place = np.repeat(chunks.start, chunks.length) + inside
        owner = np.repeat(chunks.patient, chunks.length)
        shard_of = np.repeat(chunks.shard, chunks.length)
        for number in np.unique(chunks.shard):
            here = np.flatnonzero(shard_of == number)
            shard = self.shards[number]
            tokens[here] = shard.tokens[place[here]]
            ages[here] = shard.ages(place[here], owner[here], self.age_unit)
        positions = np.clip(ages + 1, 1, self.max_positions - 1)
        return Selection(tokens, positions, int((positions != ages + 1).sum()))

    def token_counts(self, vocabulary_size: int) -> NDArray[np.int64]:
        """How often each token id (vocabulary_size,) occurs."""
        counts = np.zeros(vocabulary_size, np.int64)
        for begin in range(0, len(self.chunks), 4096):
            counts += np.bincount(self.select(self.chunks[begin : begin + 4096]).tokens, minlength=vocabulary_size)
        return counts
