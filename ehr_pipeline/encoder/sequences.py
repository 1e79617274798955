"""The patient data set as chunks of tokens with the ages at which they were recorded, mapped into memory.

Axes: N tokens of a selection, C chunks. Nothing is copied but what a batch needs, so memory does not grow with the data set.
"""

from collections.abc import Sequence
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
        return self.visit_start[self.patient_start].astype(np.int64)

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

    def below(self, tokens: int) -> "Shard":
        """The shard without token ids from `tokens` on, which an encoder does not know that was trained before they came."""
        known = self.tokens < tokens
        if known.all():
            return self
        starts = np.concatenate([[0], np.cumsum(known)]).astype(np.int32)[self.visit_start]
        some = np.diff(starts) > 0  # a visit without any known concept is none
        visits_before = np.concatenate([[0], np.cumsum(some)]).astype(np.int32)
        return replace(
            self,
            tokens=self.tokens[known],
            visit_start=np.append(starts[:-1][some], starts[-1]),
            visit_day=self.visit_day[some],
            patient_start=visits_before[self.patient_start],
        )

    def ages(
        self,
        starts: NDArray[np.int64],
        lengths: NDArray[np.int64],
        patients: NDArray[np.int64],
        unit: Literal["year", "quarter"],
    ) -> NDArray[np.int64]:
        """Age in whole units at which the tokens of some chunks were recorded, one chunk after the other.

        Chunks (C,) begin at token `starts`, hold `lengths` tokens and belong to `patients`. Ages are reckoned once for each visit.
        Where only the birth year is known, an age is the difference of calendar years.
        """
        ends = starts + lengths
        # Searched for as what they are searched in: else numpy would copy the whole of it to another type, every time.
        asked = starts.astype(self.visit_start.dtype), ends.astype(self.visit_start.dtype)
        first = np.searchsorted(self.visit_start, asked[0], side="right") - 1
        visits = np.searchsorted(self.visit_start, asked[1], side="left") - first
        visit = np.arange(int(visits.sum())) + np.repeat(first - (np.cumsum(visits) - visits), visits)
        owner = np.repeat(patients, visits)
        tokens = np.minimum(self.visit_start[visit + 1], np.repeat(ends, visits)) - np.maximum(
            self.visit_start[visit], np.repeat(starts, visits)
        )
        days = self.visit_day[visit] - self.birth_day[owner]
        scale = UNITS_IN_YEAR[unit]
        exact = np.floor(days * (scale / DAYS_IN_YEAR)).astype(np.int64)
        years = (_years(self.visit_day[visit]) - _years(self.birth_day[owner])).astype(np.int64)
        return np.repeat(np.where(self.birth_year_only[owner], years * scale, exact), tokens)


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
        paths = sorted(dataset.glob("[!.]*.arrow"))
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

    @property
    def patient_count(self) -> int:
        """Patients that have a chunk."""
        shard, patient = self.chunks.shard, self.chunks.patient
        changes = (np.diff(shard) != 0) | (np.diff(patient) != 0)  # chunks lie in order of shards and patients
        return int(changes.sum()) + int(len(shard) > 0)

    def patients(self) -> NDArray[np.int64]:
        """Numbers of the shard and of the row in it (2, n) of the patients that have a chunk."""
        return np.unique(np.stack([self.chunks.shard, self.chunks.patient]).astype(np.int64), axis=1)

    def select(self, chunks: Chunks) -> Selection:
        """Tokens and positions of some chunks, in their order."""
        order = np.argsort(chunks.shard, kind="stable")
        ordered = chunks[order]
        numbers, firsts = np.unique(ordered.shard, return_index=True)
        tokens, ages = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
        for number, own in zip(numbers, np.split(np.arange(len(order)), firsts[1:]), strict=True):
            shard, part = self.shards[number], ordered[own]
            begins = np.cumsum(part.length) - part.length
            tokens.append(shard.tokens[np.arange(part.length.sum()) + np.repeat(part.start - begins, part.length)])
            ages.append(shard.ages(part.start, part.length, part.patient, self.age_unit))
        # From the order of shards back to the order of the chunks.
        begins_then = np.cumsum(chunks.length) - chunks.length
        begins_now = np.cumsum(ordered.length) - ordered.length
        place = np.arange(int(chunks.length.sum())) + np.repeat(begins_then[order] - begins_now, ordered.length)
        laid = np.empty((2, len(place)), np.int64)
        laid[0, place], laid[1, place] = np.concatenate(tokens), np.concatenate(ages)
        positions = np.clip(laid[1] + 1, 1, self.max_positions - 1)
        return Selection(laid[0], positions, int((positions != laid[1] + 1).sum()))

    def token_counts(self, vocabulary_size: int) -> NDArray[np.int64]:
        """How often each token id (vocabulary_size,) occurs."""
        counts = np.zeros(vocabulary_size, np.int64)
        for number, shard in enumerate(self.shards):
            patients = np.unique(self.chunks.patient[self.chunks.shard == number])
            sizes = np.diff(shard.patient_tokens)
            own = np.zeros(len(sizes), bool)
            own[patients] = True
            counts += np.bincount(shard.tokens[np.repeat(own, sizes)], minlength=vocabulary_size)
        return counts
