"""The encoder's states at a mask after histories: `python -m ehr_pipeline.forecasts.job --job job.json`, alone or under torchrun.

Reads `asked/<shard>.arrow` (ASKED) in the job's folder and writes `states/<shard>.arrow`, a row for each: the state from which the
scores of all concepts follow. Each process takes every N-th shard and holds one at a time. A file appears complete or not at all.
"""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.embeddings.job import Inference
from ehr_pipeline.encoder import checkpoint, machine
from ehr_pipeline.encoder.devices import process_group
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.patients.histories import ALWAYS, cut
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.predictions.masked import at_mask
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline.work import jobs
from ehr_pipeline.work.progress import Progress

ASKED = pa.schema([(name, pa.int64()) for name in ("row", "last", "day")])
"""Columns of the questions: row in the shard, last day of the history, and day asked about; days since 1970-01-01."""
QUESTIONS, STATES = "asked", "states"
BLOCK = 2_000
"""Histories that are held in memory at once."""


@dataclass(frozen=True, kw_only=True)
class StatesJob(jobs.Job):
    """Job that fills `states` in the folder `work`, where `lay_out` has written what is asked."""

    module: ClassVar[str] = "ehr_pipeline.forecasts.job"
    checkpoint: Path
    vocabulary: Path
    dataset: Path
    work: Path
    settings: Inference
    tokens_before: int

    def lay_out(self, asked: dict[str, pa.Table]) -> None:
        """Write what is asked of each shard (ASKED)."""
        (self.work / STATES).mkdir(parents=True, exist_ok=True)
        for name, table in asked.items():
            schemas.write(self.work / QUESTIONS / name, table.cast(ASKED))

    def states(self, shard: str) -> NDArray[np.float32]:
        """The states (q, D) for a shard, in the order of what was asked."""
        return schemas.matrix(schemas.read(self.work / STATES / shard), "state")


def run(job: StatesJob) -> None:
    """Answer for all shards. Raises UserError when checkpoint and vocabulary do not match."""
    with process_group(job.threads) as device:
        model = checkpoint.load(job.checkpoint, Vocabulary.read(job.vocabulary), device)
        config = model.stock.config
        how = replace(job.settings, precision=machine.precision_of(job.settings.precision, config))
        paths = sorted((job.work / QUESTIONS).glob("[!.]*.arrow"))
        progress = Progress("forecasting", len(paths))
        for number, path in enumerate(paths):
            if number % jobs.world_size() == jobs.rank():
                whole = Shard.read(job.dataset / path.name).below(config.vocab_size)
                parts = [
                    states(model, whole, pa.Table.from_batches([block]), how, job.tokens_before)
                    for block in schemas.read(path).to_batches(BLOCK)
                ]
                beside = path.with_name(f".{path.name}.{os.getpid()}")
                schemas.write(beside, pa.table({"state": schemas.vectors(np.concatenate(parts))}))
                beside.rename(job.work / STATES / path.name)
            progress.advance(1)


def states(
    model: PackedEncoder, whole: Shard, asked: pa.Table, how: Inference, tokens_before: int
) -> NDArray[np.float32]:
    """The states (q, D) at the masks, in the order of what is asked (ASKED)."""
    row, last, day = (asked.column(name).to_numpy() for name in ASKED.names)
    found = np.zeros((len(row), model.stock.config.hidden_size), np.float32)
    histories = cut(whole, row, np.full(len(row), ALWAYS), last)
    for places, hidden in at_mask(model, histories, day, how, tokens_before):
        found[places] = hidden.float().cpu().numpy()
    return found


if __name__ == "__main__":
    jobs.main(run)
