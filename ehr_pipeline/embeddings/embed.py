"""Patient vectors: `python -m ehr_pipeline.embeddings.embed --job job.json`, alone or under torchrun on N processes.

Job: checkpoint, vocabulary, dataset (folders), cohort (Arrow file), selected (file with chosen token ids), settings (context,
age_unit, max_positions, batch_tokens, precision), seed, threads, out. Each process takes every N-th shard.

Fills `embeddings/` and, for the split-half test, `half_a/` and `half_b/`: the same patients from two random halves of their
visits. Patients without a chosen token are left out here, and reported by the caller.
"""

import json
import logging
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from ehr_pipeline import jobs, schemas
from ehr_pipeline.embeddings.cohort import rows_of_shard
from ehr_pipeline.embeddings.halves import first_half
from ehr_pipeline.embeddings.pooling import Inference, Pooled, pool_patients
from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.encoder.devices import process_group
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.sequences import Shard
from ehr_pipeline.progress import Progress
from ehr_pipeline.vocabulary.table import Vocabulary

_log = logging.getLogger("ehr_pipeline")


def run(job: jobs.Job) -> None:
    """Embed the cohort. Raises UserError when checkpoint and vocabulary do not belong together."""
    with process_group(job.get("threads", 0)) as device:
        vocabulary = Vocabulary.read(Path(job["vocabulary"]))
        model = checkpoint.load(Path(job["checkpoint"]), vocabulary, device)
        chosen = np.zeros(vocabulary.size, bool)
        chosen[json.loads(Path(job["selected"]).read_text(encoding="utf-8"))] = True
        cohort = schemas.read(Path(job["cohort"]))
        shards = sorted(Path(job["dataset"]).glob("*.arrow"))
        progress = Progress("embedding patients", len(shards))
        for number, path in enumerate(shards):
            if number % jobs.world_size() == jobs.rank():
                _embed_shard(job, model, path, number, rows_of_shard(cohort, path.name), chosen, device)
            progress.advance(1)


def _embed_shard(
    job: jobs.Job,
    model: PackedEncoder,
    path: Path,
    number: int,
    patients: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    device: torch.device,
) -> None:
    shard, how = Shard.read(path), Inference(**job["settings"])
    ids = schemas.read(path, ["patient_id"]).column("patient_id").take(pa.array(patients))
    half = first_half(len(shard.visit_day), number, job["seed"])
    parts = (("embeddings", shard), ("half_a", shard.keep_visits(half)), ("half_b", shard.keep_visits(~half)))
    for folder, part in parts:
        pooled = pool_patients(model, part, patients, chosen, how, device)
        schemas.write(Path(job["out"]) / folder / path.name, table_of(ids, pooled))


def table_of(ids: pa.ChunkedArray, pooled: Pooled) -> pa.Table:
    """Patients that have a vector, as `schemas.embeddings` lays them out."""
    some = pooled.tokens > 0
    width = pooled.vectors_PD.shape[1]
    vector = pa.FixedSizeListArray.from_arrays(pa.array(pooled.vectors_PD[some].ravel()), width)
    counts = [pa.array(column[some], pa.int32()) for column in (pooled.chunks, pooled.tokens)]
    schema = schemas.embeddings(width)
    return pa.table([ids.filter(pa.array(some)), vector, *counts], names=schema.names).cast(schema)


if __name__ == "__main__":
    jobs.main(run)
