"""Evaluate an encoder on its objective. The objective also scores a baseline that needs no model.

Every evaluation of a data set makes the same predictions, so epochs and models can be compared.
"""

from collections.abc import Iterator
from itertools import islice

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from ehr_pipeline.encoder import packing
from ehr_pipeline.encoder.devices import autocast
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.objectives.base import Objective, Part
from ehr_pipeline.encoder.parallel_update import UpdateThreads
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.work import jobs

ROWS = 16
"""Number of rows whose random draws are made together; changing it would change the predictions. A multiple of `Loss.together`."""
AT_ONCE = {"cpu": 1, "cuda": 8}
"""Number of groups of ROWS rows computed at once."""


@torch.no_grad()
def evaluate(
    model: PackedEncoder,
    objective: Objective,
    parts: Iterator[Part],
    device: torch.device,
    precision: str,
    *,
    threads: UpdateThreads | None = None,
) -> NDArray[np.float64]:
    """Return the summed scores of the parts, which are divided among the processes of the job, or among its `threads`."""
    model.eval()
    sums = torch.from_numpy(objective.no_sums()).to(device)

    def score_part(part: Part) -> torch.Tensor:
        summed = torch.zeros_like(sums)
        with torch.no_grad(), autocast(device, precision):  # a thread begins with gradients on
            objective.score(model, summed, *part.tensors(device))
        return summed

    mine = islice(parts, jobs.rank(), None, jobs.world_size())
    for summed in threads.each(score_part, mine) if threads else map(score_part, mine):
        sums += summed
    if jobs.world_size() > 1:
        dist.all_reduce(sums)
    return sums.cpu().numpy()


def evaluation_parts(
    objective: Objective, sequences: Sequences, context: int, seed: int, at_once: int = 1
) -> Iterator[Part]:
    """Yield all chunks of `sequences` as parts of `at_once` x ROWS rows, prepared for the same predictions in every evaluation."""
    groups = enumerate(packing.group_rows(sequences, np.arange(len(sequences.chunks)), context, ROWS))
    while several := list(islice(groups, at_once)):
        draws = [
            objective.draw((len(rows), context), np.random.default_rng([seed, number, 0xE7A1]))
            for number, rows in several
        ]
        batch = packing.build(sequences, [row for _, rows in several for row in rows], context)
        yield objective.prepare(batch, tuple(np.concatenate(drawn) for drawn in zip(*draws, strict=True)))
