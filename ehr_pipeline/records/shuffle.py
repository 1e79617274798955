"""Rows to one file per bucket: the one shuffle of the chain. Everything after it works on a bucket by itself."""

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ehr_pipeline.errors import UserError
from ehr_pipeline.records.hashing import bucket_of
from ehr_pipeline.rows import ITEM_BITS


class Shuffle:
    """Appends rows to one Arrow stream per bucket, by the hash of their patient id."""

    def __init__(self, folder: Path, buckets: int, patient_column: str):
        self.folder, self.buckets, self.patient_column = folder, buckets, patient_column
        folder.mkdir(parents=True)
        self._writers: dict[int, Any] = {}
        self._schema: pa.Schema | None = None

    def add(self, rows: pl.DataFrame) -> None:
        """Append each row to the file of its bucket, keeping the order of rows."""
        bucket = bucket_of(rows[self.patient_column], self.buckets)
        order = np.argsort(bucket, kind="stable")
        table = rows[order].to_arrow(compat_level=pl.CompatLevel.oldest())
        self._schema = table.schema
        ends = np.cumsum(np.bincount(bucket, minlength=self.buckets))
        start = 0
        for number, end in enumerate(ends.tolist()):
            if end > start:
                self._writer(number).write_table(table.slice(start, end - start))
            start = end

    def _writer(self, bucket: int) -> Any:
        if bucket not in self._writers:
            self._writers[bucket] = pa.ipc.new_stream(str(self.folder / f"{bucket:05d}"), self._schema)
        return self._writers[bucket]

    def __enter__(self) -> "Shuffle":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self._writers.values():
            writer.close()


def read_bucket(folder: Path, bucket: int) -> pl.DataFrame | None:
    """All rows of a bucket, or None when it has none."""
    path = folder / f"{bucket:05d}"
    if not path.exists():
        return None
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        frame = pl.from_arrow(stream.read_all())
    assert isinstance(frame, pl.DataFrame)
    return frame


class Interned:
    """Numbers for distinct strings, in order of their first appearance."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}

    def numbers(self, texts: pl.Series) -> pl.Series:
        """The numbers (uint32) of the texts."""
        distinct = texts.unique()
        found = [self._number.setdefault(text, len(self._number)) for text in distinct.to_list()]
        if len(self._number) >= 2**ITEM_BITS:
            raise UserError(
                f"The events hold more than {2**ITEM_BITS:,} different codes."
                " The column of the code (records.events.columns.code) is perhaps another one."
            )
        return texts.replace_strict(distinct, pl.Series(found, dtype=pl.UInt32), return_dtype=pl.UInt32)

    def sorted_table(self) -> pa.Table:
        """The distinct strings in order (`code`), and beside them, by number, the place of each in that order (`rank`)."""
        texts = pa.array(self._number, pa.string())
        order = pc.sort_indices(texts)
        rank = np.empty(len(texts), np.int32)
        rank[order.to_numpy()] = np.arange(len(texts), dtype=np.int32)
        return pa.table({"code": texts.take(order), "rank": pa.array(rank)})
