"""Compute chunk vectors of the cohort: `python -m ehr_pipeline.embeddings.embed --job job.json`, alone or under torchrun on N
processes.

Each process takes every N-th shard and holds one shard at a time, so memory does not grow with the number of patients. Concepts
that the encoder does not know are left out.

The job writes to `work/whole/` and, for the split-half test, to `work/half_a/` and `work/half_b/`: the same patients, with one
random half of their visits in each folder. If the job has `windows`, it writes only to `work/windows/`, with one entry per window
instead of per patient. A file appears complete or not at all, and is not written twice: a killed job resumes with the missing
shards.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.embeddings import windows
from ehr_pipeline.embeddings.embedding_job import EmbeddingJob
from ehr_pipeline.embeddings.pooling import ChunkVectors, Pooled, load, pool_chunks
from ehr_pipeline.embeddings.visit_halves import first_half
from ehr_pipeline.encoder import hardware_choices
from ehr_pipeline.encoder.devices import process_group
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.store import durable
from ehr_pipeline.tables import schemas
from ehr_pipeline.typed_settings import file_hash
from ehr_pipeline.work import jobs
from ehr_pipeline.work.progress import Progress

PARTS = ("whole", "half_a", "half_b")
WINDOWS = "windows"
DIGESTS = "digests"


def run(job: EmbeddingJob) -> None:
    """Embed the chunks of the cohort. Raises UserError if checkpoint and vocabulary do not match."""
    with process_group(job.threads, job.needs_gpu) as device:
        model, how = load(job, device)
        hardware_choices.note(job.work, {"device": device.type, "precision": how.precision})
        weights = np.load(job.weights)
        cohort = job.cohort
        shards = sorted(job.dataset.glob("[!.]*.arrow"))
        progress = Progress("embedding patients", len(shards))

        def pool(part: Shard, rows: NDArray[np.int64]) -> ChunkVectors:
            return pool_chunks(model, part, rows, weights, how)

        for number, path in enumerate(shards):
            if number % jobs.world_size() == jobs.rank():
                _embed_shard(job, path, cohort.rows(path.name), len(weights), pool)
            progress.advance(1)


def _embed_shard(
    job: EmbeddingJob,
    path: Path,
    patients: NDArray[np.int64],
    size: int,
    pool: Callable[[Shard, NDArray[np.int64]], ChunkVectors],
) -> None:
    """Write the chunk vectors of some patients of a shard; token ids of `size` or higher are left out."""
    whole = Shard.read(path).below(size)
    for name, part, rows in _parts(job, path, whole, patients):
        target, digest = (job.work / folder / path.name for folder in (name, f"{DIGESTS}/{name}"))
        # Keep a file of an earlier run only if it matches its digest: crashes and failing disks can damage files.
        if not (target.is_file() and digest.is_file() and digest.read_text(encoding="ascii") == file_hash(target)):
            write_chunks(target, pool(part, rows))
            digest.parent.mkdir(parents=True, exist_ok=True)
            digest.write_text(file_hash(target), encoding="ascii")


def _parts(
    job: EmbeddingJob, path: Path, whole: Shard, patients: NDArray[np.int64]
) -> Iterator[tuple[str, Shard, NDArray[np.int64]]]:
    """Yield the parts of a shard (from the file `path`) to embed: the part's name, its shard, and the rows to embed."""
    if job.windows:
        divided = windows.split(whole, patients, job.windows.divided, job.windows.years)
        yield WINDOWS, divided.shard, divided.rows
        return
    for name in PARTS:
        yield name, part_of(path, whole, patients, name, job.seed), patients


def part_of(path: Path, shard: Shard, patients: NDArray[np.int64], name: str, seed: int) -> Shard:
    """Return the whole shard (from the file `path`), or one half of its visits as drawn for `patients`; `name` is one of PARTS."""
    if name == "whole":
        return shard
    half = first_half(path, shard, patients, seed)
    return shard.keep_visits(half if name == "half_a" else ~half)


def write_chunks(path: Path, chunks: ChunkVectors) -> None:
    """Write chunk vectors as an Arrow file, which appears under its name only when complete."""
    columns = {
        "patient": pa.array(chunks.patient),
        "weight": pa.array(chunks.weights),
        "tokens": pa.array(chunks.tokens),
        "vector": schemas.vectors(chunks.vectors_CD),
    }
    with durable.complete(path) as beside:
        schemas.write(beside, pa.table(columns))


def read_chunks(path: Path) -> ChunkVectors:
    """Read a file that `write_chunks` wrote."""
    table = schemas.read(path)
    vectors = schemas.matrix(table).copy()  # torch needs writable arrays
    patient, weight, tokens = (table.column(name).to_numpy() for name in ("patient", "weight", "tokens"))
    return ChunkVectors(vectors, patient, weight, tokens)


def table_of(ids: pa.ChunkedArray, pooled: Pooled) -> pa.Table:
    """Return a table of the patients that have a vector, with the columns of `schemas.embeddings`."""
    some = pooled.tokens > 0
    width = pooled.vectors_PD.shape[1]
    vector = schemas.vectors(pooled.vectors_PD[some])
    counts = [pa.array(column[some], pa.int32()) for column in (pooled.chunks, pooled.tokens)]
    schema = schemas.embeddings(width)
    return pa.table([ids.filter(pa.array(some)), vector, *counts], names=schema.names).cast(schema)


if __name__ == "__main__":
    jobs.main(run)
