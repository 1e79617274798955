"""The updates of an epoch as a process sees them: packed rows with fresh masks, a function of (seed, epoch, number) alone.

However an update is shared out over processes and micro-batches, every token gets the same mask. Axes: R rows, T token slots of a
row, M chosen tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, repeat

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.encoder import masking, packing
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.work.buckets import ahead

AHEAD = 4  # updates that are ready before they are asked for


@dataclass(frozen=True)
class Part:
    """One micro-batch."""

    inputs_RT: NDArray[np.int64]
    positions_RT: NDArray[np.int64]
    segments_RT: NDArray[np.int64]
    chosen_M: NDArray[np.int64]
    """The chosen places, as numbers in the flattened R × T."""
    targets_M: NDArray[np.int64]


@dataclass(frozen=True)
class Update:
    """What one process computes of an update."""

    parts: tuple[Part, ...]
    real_tokens: int
    """Tokens of the whole update that are no padding, over all processes."""
    slots: int
    """Token slots of the whole update."""
    clipped: int
    """Tokens of this process's part whose age lay outside the position table."""


@dataclass(frozen=True)
class Plan:
    """How updates are cut: rows in one, rows computed at once, and which of `processes` this is."""

    rows: int
    micro_rows: int
    rank: int = 0
    processes: int = 1


def updates(
    sequences: Sequences,
    settings: EncoderSettings,
    vocabulary_size: int,
    seed: int,
    epoch: int,
    plan: Plan,
    skip: int = 0,
) -> Iterator[Update]:
    """The updates of an epoch from number `skip` on, made ready by a thread of their own."""
    order = packing.order_of_epoch(len(sequences.chunks), seed, epoch)
    groups = enumerate(packing.group_rows(sequences, order, settings.context, plan.rows))

    def made() -> Iterator[Update]:
        for number, group in islice(groups, skip, None):
            rng = np.random.default_rng([seed, epoch, number, 0x3A5C])
            shape = (len(group), settings.context)
            draws = masking.Draws.draw(shape, settings.mask_share, vocabulary_size, rng)
            yield _update(sequences, group, draws, settings.context, plan)

    stream = made()
    for update in ahead(lambda _: next(stream, None), repeat(None), threads=1, depth=AHEAD):
        if update is None:
            return
        yield update


def _update(
    sequences: Sequences, group: list[NDArray[np.int64]], draws: masking.Draws, context: int, plan: Plan
) -> Update:
    mine = np.arange(plan.rank, len(group), plan.processes)
    parts, clipped = [], 0
    for begin in range(0, len(mine), plan.micro_rows):
        rows = mine[begin : begin + plan.micro_rows]
        batch = packing.build(sequences, [group[row] for row in rows], context)
        masked = masking.mask(batch.tokens_RT, draws.rows(rows))
        parts.append(Part(masked.inputs_RT, batch.positions_RT, batch.segments_RT, masked.chosen_M, masked.targets_M))
        clipped += batch.clipped
    real = sum(int(sequences.chunks.length[row].sum()) for row in group)
    return Update(tuple(parts) or (_nothing(context),), real, len(group) * context, clipped)


def _nothing(context: int) -> Part:
    """A row of padding, for a process that an update has no row for: the others wait for its gradients."""
    row, none = np.zeros((1, context), np.int64), np.zeros(0, np.int64)
    return Part(row, row, row, none, none)
