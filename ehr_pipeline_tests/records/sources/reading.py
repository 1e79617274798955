"""Reads small extracts of any source, and shows what came of them."""

from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from ehr_pipeline.records import build
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.store.artifacts import unbalanced
from ehr_pipeline.tables import schemas

EXTRACT = "2020-01-01"


def folder(tmp_path: Path, **files: str) -> Path:
    """An extract of text files."""
    extract = tmp_path / "landing" / EXTRACT
    extract.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (extract / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return extract


def parquet(path: Path, **columns: Any) -> None:
    """A Parquet file from columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, row_group_size=2)


def read(extract: Path, out: Path, **settings: Any) -> dict[str, Any]:
    """Read an extract into `out`; the counts balance."""
    out.mkdir(parents=True)
    values = {"landing": str(extract.parent), "buckets": 2} | settings
    counts = build.build(extract, RecordsSettings(**values), out)
    assert unbalanced(counts) == unbalanced(counts["patients"]) == unbalanced(counts["linked"]) == 0
    return counts


def rows(out: Path, kind: str) -> list[tuple[Any, ...]]:
    """All rows of the artifact's events, patients or quarantine, sorted."""
    frames = [pl.DataFrame(schemas.read(path)) for path in sorted((out / kind).iterdir())]
    whole = pl.concat(
        [
            frame.cast({name: pl.String for name, t in frame.schema.items() if t == pl.Categorical or t == pl.Date})
            for frame in frames
        ]
    )
    if kind == "quarantine":
        whole = whole.select("file", "line", "reason")
    return sorted(whole.iter_rows())
