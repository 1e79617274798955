"""Read the patient data set as chunks of tokens with the ages at which they were recorded, mapped into memory.

Axes: N tokens of a selection, C chunks. Only what a batch needs is copied, so memory does not grow with the data set.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.tables import schemas


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
    """Cut the tokens of some patients (rows) of a shard into chunks."""
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
    """Join the chunks of several shards."""
    return Chunks(
        *(np.concatenate([getattr(part, name) for part in parts]) for name in ("shard", "patient", "start", "length"))
    )


@dataclass(frozen=True)
class Selection:
    """Tokens of some chunks, one chunk after the other."""

    tokens: NDArray[np.int64]
    positions: NDArray[np.int64]
    """Age index + 1, because the stock model never trains row 0 of the position table, which belongs to padding."""
    visits: NDArray[np.int64]
    """Index of the token's visit in its chunk, from 0."""
    clipped: int
    """Number of tokens whose age is outside the position table."""


@dataclass(frozen=True)
class Sequences:
    """A patient data set, or its patients in one set of a split."""

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
        """Number of tokens in all chunks."""
        return int(self.chunks.length.sum())

    @property
    def patient_count(self) -> int:
        """Number of patients that have a chunk."""
        shard, patient = self.chunks.shard, self.chunks.patient
        changes = (np.diff(shard) != 0) | (np.diff(patient) != 0)  # chunks are sorted by shard and patient
        return int(changes.sum()) + int(len(shard) > 0)

    def numbers(self, chunks: Chunks) -> NDArray[np.int64]:
        """Return the index of each chunk's patient among the patients of all shards, in the order of the shards."""
        sizes = np.array([len(shard.birth_day) for shard in self.shards], np.int64)
        return (np.cumsum(sizes) - sizes)[chunks.shard] + chunks.patient

    def patients(self) -> NDArray[np.int64]:
        """Return the patients that have a chunk: the index of the shard, and the row in that shard (2, n)."""
        return np.unique(np.stack([self.chunks.shard, self.chunks.patient]).astype(np.int64), axis=1)

    def select(self, chunks: Chunks) -> Selection:
        """Return tokens, positions and visits of some chunks, in the order of the chunks."""
        order = np.argsort(chunks.shard, kind="stable")
        ordered = chunks[order]
        numbers, firsts = np.unique(ordered.shard, return_index=True)
        parts: list[tuple[NDArray[np.integer], ...]] = [(np.zeros(0, np.int64),) * 3]
        for number, places in zip(numbers, np.split(np.arange(len(order)), firsts[1:]), strict=True):
            shard, part = self.shards[number], ordered[places]
            begins = np.cumsum(part.length) - part.length
            tokens = shard.tokens[np.arange(part.length.sum()) + np.repeat(part.start - begins, part.length)]
            ages = shard.ages(part.start, part.length, part.patient, self.age_unit)
            parts.append((tokens, ages, shard.visit_numbers(part.start, part.length)))
        # Reorders from the order of the shards to the order of the chunks.
        begins_then = np.cumsum(chunks.length) - chunks.length
        begins_now = np.cumsum(ordered.length) - ordered.length
        place = np.arange(int(chunks.length.sum())) + np.repeat(begins_then[order] - begins_now, ordered.length)
        laid = np.empty((3, len(place)), np.int64)
        for row, values in enumerate(zip(*parts, strict=True)):
            laid[row, place] = np.concatenate(values)
        positions = np.clip(laid[1] + 1, 1, self.max_positions - 1)
        return Selection(laid[0], positions, laid[2], int((positions != laid[1] + 1).sum()))

    def token_counts(self, vocabulary_size: int) -> NDArray[np.int64]:
        """Count the occurrences of each token id (vocabulary_size,)."""
        counts = np.zeros(vocabulary_size, np.int64)
        for number, shard in enumerate(self.shards):
            patients = np.unique(self.chunks.patient[self.chunks.shard == number])
            sizes = np.diff(shard.patient_tokens)
            counted = np.zeros(len(sizes), bool)
            counted[patients] = True
            counts += np.bincount(shard.tokens[np.repeat(counted, sizes)], minlength=vocabulary_size)
        return counts
