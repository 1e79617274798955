"""Prepare the updates of an epoch for one process: packed rows, prepared by the objective, each with its own random draws.

The draws depend only on (seed, epoch, number of the update), so a given row always gets the same draws, however an update is
divided among processes and micro-batches.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, repeat

import numpy as np
import torch
from numpy.typing import NDArray

from ehr_pipeline.encoder import packing
from ehr_pipeline.encoder.objectives.base import Draws, Objective, Part, filled
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.work.buckets import ahead

AHEAD = 4  # updates that are prepared in advance


@dataclass(frozen=True)
class Update:
    """The part of an update that one process computes."""

    parts: tuple[Part, ...]
    real_tokens: int
    """Tokens of the whole update, over all processes, without padding."""
    slots: int
    """Token slots of the whole update, over all processes."""
    clipped: int
    """Tokens in this process's part whose age is outside the position table."""


@dataclass(frozen=True)
class Plan:
    """How updates are divided: slots in a row, rows in an update, rows computed at once, and this process's rank among `processes`.

    Rows computed at once are whole blocks of the rows that the objective compares with each other (`Loss.together`).
    """

    context: int
    rows: int
    micro_rows: int
    rank: int = 0
    processes: int = 1
    fixed: bool = False
    """Whether all parts are padded to the same shapes, because compiled code is compiled again for each new shape."""
    gpu: torch.device | None = None
    """The GPU for which parts are placed in pinned memory, so that they are copied while the CPU continues."""


def updates(
    sequences: Sequences, objective: Objective, plan: Plan, *, seed: int, epoch: int, skip: int = 0
) -> Iterator[Update]:
    """Yield the updates of an epoch from number `skip` on, prepared by a separate thread."""
    order = packing.order_of_epoch(len(sequences.chunks), seed, epoch)
    groups = enumerate(packing.group_rows(sequences, order, plan.context, plan.rows))

    def prepared() -> Iterator[Update]:
        for number, group in islice(groups, skip, None):
            draws = objective.draw((len(group), plan.context), np.random.default_rng([seed, epoch, number, 0x3A5C]))
            yield _update(sequences, group, objective, draws, plan)

    stream = prepared()
    for update in ahead(lambda _: next(stream, None), repeat(None), threads=1, depth=AHEAD):
        if update is None:
            return
        yield update


def _update(
    sequences: Sequences, group: list[NDArray[np.int64]], objective: Objective, draws: Draws, plan: Plan
) -> Update:
    assert plan.micro_rows % objective.together == 0
    mine = np.flatnonzero(np.arange(len(group)) // objective.together % plan.processes == plan.rank)
    parts, clipped = [], 0
    # If an update has no row for this process, it has one part of padding, because the other processes still wait for its
    # gradients.
    for begin in range(0, max(len(mine), 1), plan.micro_rows):
        rows = mine[begin : begin + plan.micro_rows]
        height = plan.micro_rows if plan.fixed else max(len(rows), 1)
        batch = packing.build(sequences, [group[row] for row in rows], plan.context, height)
        part = objective.prepare(batch, tuple(filled(drawn[rows], height) for drawn in draws))
        if plan.fixed:
            part = objective.padded(part)
        parts.append(part.pinned(plan.gpu) if plan.gpu else part)
        clipped += batch.clipped
    real = sum(int(sequences.chunks.length[row].sum()) for row in group)
    return Update(tuple(parts), real, len(group) * plan.context, clipped)
