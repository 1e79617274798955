"""How often each concept occurs in a bucket: in events, in visits (patient and day), and in patients; and in all buckets."""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from ehr_pipeline import rows, schemas

TOGETHER = 16  # buckets that are added up at once, so that memory does not follow their number


def of_concepts(keys: rows.Keys, concepts: pa.Array) -> pa.Table:
    """Counts of the concepts that occur: concept, events, appearances (visits with it), patients (int64 each).

    `keys` (n,) are sorted events, whose items are indices into `concepts`.
    """
    size = len(concepts)
    concept = rows.items(keys)
    pairs = rows.without_days(keys)
    pairs.sort()
    pairs = pairs[rows.starts(pairs)]
    columns = {
        "events": np.bincount(concept, minlength=size),
        "appearances": np.bincount(concept[rows.starts(keys)], minlength=size),
        "patients": np.bincount(rows.items(pairs), minlength=size),
    }
    occur = np.flatnonzero(columns["events"])
    return pa.table({"concept": concepts.take(pa.array(occur)), **{name: n[occur] for name, n in columns.items()}})


def summed(counted: list[Path], of: str) -> pl.DataFrame:
    """The sums over the tables of all buckets by their column `of`, sorted by it."""
    total = pl.DataFrame()
    for first in range(0, len(counted), TOGETHER):
        parts = [pl.DataFrame(schemas.read(path)) for path in counted[first : first + TOGETHER]]
        total = pl.concat([total, *parts], how="diagonal").group_by(of).agg(pl.all().sum())
    return total.sort(of)
