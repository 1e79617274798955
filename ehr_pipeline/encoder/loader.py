"""The updates of an epoch as a process sees them: packed rows as the objective prepares them, with draws of their own.

They are a function of (seed, epoch, number) alone: however an update is shared out over processes and micro-batches, every row gets
the same draws.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, repeat

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.encoder import packing
from ehr_pipeline.encoder.objectives.base import Draws, Objective, Part
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.work.buckets import ahead

AHEAD = 4  # updates that are ready before they are asked for


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
    """How updates are cut: slots of a row, rows in one, rows computed at once, and which of `processes` this is."""

    context: int
    rows: int
    micro_rows: int
    rank: int = 0
    processes: int = 1


def updates(
    sequences: Sequences, objective: Objective, plan: Plan, *, seed: int, epoch: int, skip: int = 0
) -> Iterator[Update]:
    """The updates of an epoch from number `skip` on, made ready by a thread of their own."""
    order = packing.order_of_epoch(len(sequences.chunks), seed, epoch)
    groups = enumerate(packing.group_rows(sequences, order, plan.context, plan.rows))

    def made() -> Iterator[Update]:
        for number, group in islice(groups, skip, None):
            draws = objective.draw((len(group), plan.context), np.random.default_rng([seed, epoch, number, 0x3A5C]))
            yield _update(sequences, group, objective, draws, plan)

    stream = made()
    for update in ahead(lambda _: next(stream, None), repeat(None), threads=1, depth=AHEAD):
        if update is None:
            return
        yield update


def _update(
    sequences: Sequences, group: list[NDArray[np.int64]], objective: Objective, draws: Draws, plan: Plan
) -> Update:
    mine = np.arange(plan.rank, len(group), plan.processes)
    parts, clipped = [], 0
    for begin in range(0, len(mine), plan.micro_rows):
        rows = mine[begin : begin + plan.micro_rows]
        batch = packing.build(sequences, [group[row] for row in rows], plan.context)
        parts.append(objective.prepare(batch, tuple(drawn[rows] for drawn in draws)))
        clipped += batch.clipped
    if not parts:  # the other processes wait for the gradients of one that an update has no row for
        parts = [objective.prepare(packing.padding(plan.context), tuple(drawn[:1] for drawn in draws))]
    real = sum(int(sequences.chunks.length[row].sum()) for row in group)
    return Update(tuple(parts), real, len(group) * plan.context, clipped)
