"""How often each concept occurs over all buckets, from what `mapped_events` counted in each."""

from pathlib import Path

import polars as pl

from ehr_pipeline import schemas

TOGETHER = 16  # buckets that are added up at once, so that memory does not follow their number


def count_concepts(counted: list[Path]) -> pl.DataFrame:
    """The sum of the counts of all buckets (`events.counts.of_concepts`): concept, events, appearances, patients; sorted."""
    total = pl.DataFrame()
    for first in range(0, len(counted), TOGETHER):
        parts = [pl.DataFrame(schemas.read(path)) for path in counted[first : first + TOGETHER]]
        total = pl.concat([total, *parts], how="diagonal").group_by("concept").agg(pl.all().sum())
    return total.sort("concept")
