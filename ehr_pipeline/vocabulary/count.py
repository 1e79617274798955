"""How often each concept occurs: in events, in visits (patient and day), and in patients."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline import rows, schemas
from ehr_pipeline.buckets import map_buckets

BucketCounts = tuple[pa.Array, NDArray[np.int64]]


def count_bucket(shard: Path) -> BucketCounts:
    """Counts of one shard of mapped events: concept names, and (3, n) events, appearances and patients of each."""
    patient, day, concept, _, names = rows.from_table(schemas.read(shard), "concept")
    size = len(names)
    keys = rows.pack(patient, day, concept)  # sorted already: the shard is written in this order
    first_of_visit = concept[rows.starts(keys)]
    pairs = np.sort(patient.astype(np.int64) * max(size, 1) + concept)
    pairs = pairs[rows.starts(pairs)]
    counts = [np.bincount(values, minlength=size) for values in (concept, first_of_visit, pairs % max(size, 1))]
    return names.cast(pa.string()), np.array(counts, np.int64)


def count_concepts(shards: list[Path], workers: int) -> pl.DataFrame:
    """Counts over all shards: concept, events, appearances, patients; sorted by concept."""
    buckets = map_buckets(count_bucket, shards, workers, "counting concepts")
    concepts = pc.unique(pa.concat_arrays([names for names, _ in buckets]))
    concepts = concepts.take(pc.sort_indices(concepts))
    total = np.zeros((3, len(concepts)), np.int64)
    for names, counts in buckets:
        total[:, pc.index_in(names, value_set=concepts).to_numpy()] += counts  # each name stands once in a bucket
    columns = dict(zip(("events", "appearances", "patients"), total, strict=True))
    return pl.DataFrame({"concept": pl.Series(concepts, dtype=pl.String), **columns})
