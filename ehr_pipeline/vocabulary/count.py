"""How often each concept occurs: in events, in visits (patient and day), and in patients."""

from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline import rows, schemas
from ehr_pipeline.buckets import map_buckets

BucketCounts = tuple[list[str], NDArray[np.int64]]


def count_bucket(shard: Path) -> BucketCounts:
    """Counts of one shard of mapped events: concept names, and (3, n) events, appearances and patients of each."""
    patient, day, concept, _, names = rows.from_table(schemas.read(shard), "concept")
    size = len(names)
    keys = rows.pack(patient, day, concept)  # sorted already: the shard is written in this order
    first_of_visit = concept[rows.starts(keys)]
    pairs = np.unique(patient.astype(np.int64) * max(size, 1) + concept)
    counts = [np.bincount(values, minlength=size) for values in (concept, first_of_visit, pairs % max(size, 1))]
    return names.to_pylist(), np.array(counts, np.int64)


def count_concepts(shards: list[Path], workers: int) -> pl.DataFrame:
    """Counts over all shards: concept, events, appearances, patients; sorted by concept."""
    total: dict[str, NDArray[np.int64]] = {}
    for names, counts in map_buckets(count_bucket, shards, workers, "counting concepts"):
        for index, name in enumerate(names):
            total[name] = total[name] + counts[:, index] if name in total else counts[:, index]
    table = np.array(list(total.values()), np.int64).reshape(-1, 3)
    columns = dict(zip(("events", "appearances", "patients"), table.T, strict=True))
    return pl.DataFrame({"concept": pl.Series(list(total), dtype=pl.String), **columns}).sort("concept")
