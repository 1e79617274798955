"""Query the encoder about histories: `python -m ehr_pipeline.predictions.answers_job --job job.json`, alone or under torchrun.

The job reads queries from `queries/<shard>.arrow` (QUERIES: a history and a day), and writes a row for each to
`answers/<shard>.arrow`: the hidden state at a [MASK] token on that day; with `means`, the vector of the history, pooled over all
tokens and over chunks by attention as in the published study; and, for each list of concepts, the log-odds that the masked concept
is on the list. With `untrained`, a model with random weights answers too, for comparison. With N processes, each takes every N-th
shard and holds one at a time. A file appears complete or not at all."""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.embeddings.embedding_job import EncoderJob, Inference
from ehr_pipeline.embeddings.pooling import attend, load, over_chunks, pool_chunks
from ehr_pipeline.encoder.devices import process_group
from ehr_pipeline.encoder.model import PackedEncoder, new_model
from ehr_pipeline.patients.histories import cut
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.predictions.query_at_mask import answers
from ehr_pipeline.store import durable
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT
from ehr_pipeline.work import jobs
from ehr_pipeline.work.progress import Progress

QUERIES = pa.schema([(name, pa.int64()) for name in ("row", "first", "last", "query_day")])
"""Columns of the queries: row in the shard, first and last day of the history, and the day of the query, from 1970-01-01."""
QUESTIONS, ANSWERS, LISTS = "queries", "answers", "lists.json"
TRAINED, UNTRAINED = "", "_untrained"
"""Suffixes of the columns from the trained weights, and from new random weights."""
BLOCK = 2_000
"""Histories that are held in memory at once."""


@dataclass(frozen=True, kw_only=True)
class AnswersJob(EncoderJob):
    """Job that fills `answers` in the folder `work`, where `lay_out` has written the queries."""

    module: ClassVar[str] = "ehr_pipeline.predictions.answers_job"
    tokens_before: int
    means: bool
    untrained: bool
    """Whether a model with new weights, drawn from `seed`, answers as well."""

    def lay_out(self, queries: dict[str, pa.Table], lists: Sequence[Sequence[int]] = ()) -> None:
        """Write the queries of each shard (QUERIES), and lists of token ids, such as the outcome concepts of each task."""
        for name, table in queries.items():
            schemas.write(self.work / QUESTIONS / name, table)
        (self.work / ANSWERS).mkdir(parents=True, exist_ok=True)
        (self.work / LISTS).write_text(json.dumps([list(map(int, tokens)) for tokens in lists]), encoding="utf-8")

    def answers(self, shard: str) -> pa.Table:
        """Read the answers for a shard, in the order of its queries."""
        return schemas.read(self.work / ANSWERS / shard)

    def remove(self) -> None:
        """Remove the folder, which contains answers about patients and is not part of an artifact."""
        shutil.rmtree(self.work, ignore_errors=True)


def run(job: AnswersJob) -> None:
    """Answer the queries of all shards. Raises UserError when checkpoint and vocabulary do not match."""
    with process_group(job.threads, job.needs_gpu) as device:
        model, how = load(job, device)
        config = model.stock.config
        models = {TRAINED: model}
        if job.untrained:
            models[UNTRAINED] = PackedEncoder(new_model(config, job.seed)).to(device).eval()
        lists = [np.array(tokens, np.int64) for tokens in json.loads((job.work / LISTS).read_text(encoding="utf-8"))]
        paths = sorted((job.work / QUESTIONS).glob("[!.]*.arrow"))
        progress = Progress("asking the encoder", len(paths))
        for number, path in enumerate(paths):
            if number % jobs.world_size() == jobs.rank():
                whole = Shard.read(job.dataset / path.name).below(config.vocab_size)
                blocks = schemas.read(path).to_batches(BLOCK)
                queries = (pa.Table.from_batches([block]) for block in blocks)
                parts = [
                    _answer(whole, each, models, lists, (how, job.tokens_before), means=job.means) for each in queries
                ]
                with durable.complete(job.work / ANSWERS / path.name) as beside:
                    schemas.write(beside, pa.concat_tables(parts))
            progress.advance(1)


def _answer(
    whole: Shard,
    queries: pa.Table,
    models: dict[str, PackedEncoder],
    lists: Sequence[NDArray[np.int64]],
    how: tuple[Inference, int],
    *,
    means: bool,
) -> pa.Table:
    row, first, last, day = (queries.column(name).to_numpy() for name in QUERIES.names)
    histories = cut(whole, row, first, last)
    columns: dict[str, NDArray[np.float32]] = {}
    if means:  # there may be queries of a history on several days
        distinct, place = np.unique(np.stack([row, first, last]), axis=1, return_inverse=True)
        alone = cut(whole, *distinct)
        columns |= {f"mean{name}": mean_vectors(model, alone, how[0])[place.ravel()] for name, model in models.items()}
    for name, model in models.items():
        columns[f"state{name}"], odds = answers(model, histories, day, *how, lists=lists)
        if lists:
            columns[f"odds{name}"] = odds
    return pa.table({name: schemas.vectors(array) for name, array in columns.items()})


def mean_vectors(model: PackedEncoder, histories: Shard, how: Inference) -> NDArray[np.float32]:
    """Return the vectors (H, D) of all histories, pooled over all tokens as in the published study; 0 without any token."""
    every = np.arange(len(histories.birth_day))
    weights = (np.arange(model.stock.config.vocab_size) >= FIRST_CONCEPT).astype(np.float32)
    if not len(histories.tokens):
        return np.zeros((len(every), model.stock.config.hidden_size), np.float32)
    return over_chunks(pool_chunks(model, histories, every, weights, how), len(every), attend).vectors_PD


if __name__ == "__main__":
    jobs.main(run)
