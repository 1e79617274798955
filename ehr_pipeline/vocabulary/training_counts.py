"""Count concepts in the records of training and validation patients, if other patients are held out."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.events import counts
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import row_keys, schemas
from ehr_pipeline.tables.hashing import hash_of
from ehr_pipeline.work.buckets import Spread

_SCRATCH = ".learners"


@dataclass(frozen=True)
class CountJob:
    """Input for counting one bucket."""

    name: str
    events: Path
    sides: Path
    learned_from: tuple[str, ...]
    """The sets of the patients to count."""
    out: Path


@dataclass(frozen=True)
class TrainingCounts:
    """Results of the count, in scratch files inside the output folder of the vocabulary."""

    out: Path

    @property
    def tables(self) -> list[Path]:
        """Events, appearances and patients of each concept, by bucket."""
        return sorted((self.out / _SCRATCH).glob("*.arrow"))

    def patients(self) -> Iterator[NDArray[np.uint64]]:
        """Return hashes of the patients whose events were counted, by bucket."""
        return (np.load(path) for path in sorted((self.out / _SCRATCH).glob("*.npy")))

    def remove(self) -> None:
        """Remove the scratch files."""
        shutil.rmtree(self.out / _SCRATCH)


def count(
    events: Artifact, sides: Path, learned_from: tuple[str, ...], out: Path, *, workers: int, spread: Spread
) -> TrainingCounts:
    """Count the concepts in the mapped `events` of patients in the sets `learned_from`.

    `sides` is a folder of shards (patient_id, side).
    """
    jobs = [
        CountJob(shard.name, shard, sides / shard.name, learned_from, out / _SCRATCH)
        for shard in events.files("events")
    ]
    spread(count_bucket, jobs, workers, "counting concepts")
    return TrainingCounts(out)


def count_bucket(job: CountJob) -> int:
    """Count one bucket. Returns the number of events counted."""
    patient, day, concept, ids, names = row_keys.from_table(schemas.read(job.events), "concept")
    sides = schemas.read(job.sides)
    own = sides.filter(pc.is_in(sides.column("side"), value_set=pa.array(job.learned_from)))
    learns = pc.is_in(ids.cast(pa.string()), value_set=own.column("patient_id").combine_chunks())
    kept = learns.to_numpy(zero_copy_only=False)[patient] if len(ids) else np.zeros(0, bool)
    keys = row_keys.pack(patient[kept], day[kept], concept[kept])
    schemas.write(job.out / job.name, counts.count_concepts(keys, names))
    seen = np.zeros(len(ids), bool)
    seen[patient[kept]] = True
    hashes = hash_of(pl.Series(ids.cast(pa.string()).filter(pa.array(seen)), dtype=pl.String))
    np.save(job.out / f"{job.name}.npy", hashes)
    return len(keys)
