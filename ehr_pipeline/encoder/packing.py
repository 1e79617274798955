"""Pack chunks of several patients into one row, so that little computation is spent on padding.

Attention never crosses between chunks.

Axes: R rows, T token slots of a row.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.encoder.sequences import Chunks, Sequences

OPEN_ROWS = 32  # rows kept open for a chunk that fits; more open rows mean less padding


@dataclass(frozen=True)
class Batch:
    """Rows of packed chunks."""

    tokens_RT: NDArray[np.int64]
    positions_RT: NDArray[np.int64]
    segments_RT: NDArray[np.int64]
    """1, 2, … for the chunks of a row, 0 for padding. Attention stays within a segment."""
    visits_RT: NDArray[np.int64]
    """Index of each token's visit in its chunk, from 0."""
    chunks: NDArray[np.int64]
    """Chunk of each token (an index into `Sequences.chunks`), -1 for padding; shape (R, T)."""
    patients_RT: NDArray[np.int64]
    """Index of each token's patient (`Sequences.numbers`), -1 for padding."""
    clipped: int

    @property
    def order_RT(self) -> NDArray[np.int64]:
        """Order of each token in time, for a causal encoder (`model.visibility`)."""
        return 2 * self.visits_RT + 1

    @property
    def real_tokens(self) -> int:
        """Number of tokens without padding."""
        return int((self.segments_RT > 0).sum())

    def visits(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the first token (W,) of each visit of the rows, as an index into the flattened R × T, and the visit of each token
        (R, T), -1 for padding."""
        new_RT = self.segments_RT > 0
        new_RT[:, 1:] &= (np.diff(self.segments_RT, axis=1) != 0) | (np.diff(self.visits_RT, axis=1) != 0)
        visit_RT = np.cumsum(new_RT).reshape(new_RT.shape) - 1
        return np.flatnonzero(new_RT), np.where(self.segments_RT > 0, visit_RT, -1)


def counted(row_M: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, for each entry, how many earlier entries have the same row. Rows ascend."""
    return np.arange(len(row_M)) - np.searchsorted(row_M, row_M)


def pack_rows(lengths: NDArray[np.int64], context: int) -> Iterator[list[int]]:
    """Group chunks into rows of at most `context` slots, in the given order, first fit. Yields indices of chunks.

    A row is yielded when it is full. When too many rows are open, the oldest is yielded. The result depends only on the lengths.
    """
    open_rows: list[tuple[int, list[int]]] = []
    for index, length in enumerate(lengths.tolist()):
        if length == context:
            yield [index]
            continue
        for place, (left, row) in enumerate(open_rows):
            if length <= left:
                row.append(index)
                if left == length:
                    open_rows.pop(place)
                    yield row
                else:
                    open_rows[place] = (left - length, row)
                break
        else:
            open_rows.append((context - length, [index]))
            if len(open_rows) > OPEN_ROWS:
                yield open_rows.pop(0)[1]
    for _, row in open_rows:
        yield row


def order_of_epoch(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the order of chunks in an epoch, which depends only on (seed, epoch)."""
    return np.random.default_rng([seed, epoch, 0x0DE2]).permutation(count)


def group_rows(
    sequences: Sequences, order: NDArray[np.int64], context: int, rows: int
) -> Iterator[list[NDArray[np.int64]]]:
    """Yield rows of chunk indices, in groups of `rows`; the last group may be smaller."""
    group: list[NDArray[np.int64]] = []
    for row in pack_rows(sequences.chunks.length[order], context):
        group.append(order[row])
        if len(group) == rows:
            yield group
            group = []
    if group:
        yield group


def padding_rows(height: int, context: int) -> Batch:
    """Return rows of padding."""
    none = np.zeros((height, context), np.int64)
    return Batch(none, none, none, none, none - 1, none - 1, 0)


def build(sequences: Sequences, rows: list[NDArray[np.int64]], context: int, height: int = 0) -> Batch:
    """Arrange the chunks of some rows as arrays (R, T), with rows of padding after them up to `height`."""
    shape = (max(len(rows), height), context)
    if not rows:
        return padding_rows(*shape)
    index = np.concatenate(rows)
    chunks: Chunks = sequences.chunks[index]
    selection = sequences.select(chunks)
    in_row = np.array([len(row) for row in rows])
    row_of = np.repeat(np.arange(len(rows)), in_row)
    first = np.cumsum(in_row) - in_row  # first chunk of each row
    segment = np.arange(1, len(index) + 1) - first[row_of]
    ends = np.cumsum(chunks.length)
    begins = ends - chunks.length
    place = np.arange(ends[-1]) + np.repeat(row_of * context - begins[first][row_of], chunks.length)
    arrays = [np.zeros(shape, np.int64) for _ in range(4)] + [np.full(shape, -1, np.int64) for _ in range(2)]
    each = (np.repeat(values, chunks.length) for values in (segment, index, sequences.numbers(chunks)))
    segments, chunk, patient = each
    values = (selection.tokens, selection.positions, segments, selection.visits, chunk, patient)
    for array, value in zip(arrays, values, strict=True):
        array.reshape(-1)[place] = value
    tokens_RT, positions_RT, segments_RT, visits_RT, chunks_RT, patients_RT = arrays
    return Batch(tokens_RT, positions_RT, segments_RT, visits_RT, chunks_RT, patients_RT, selection.clipped)
