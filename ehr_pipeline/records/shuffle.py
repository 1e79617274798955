"""Rows to buckets: the one shuffle of the chain. Everything after it works on a bucket by itself.

Every block of rows is sorted by bucket and appended to one file as one Arrow batch (a "run"); an index says where each bucket's
rows begin in it. So one file is open however many buckets there are, and reading a bucket touches only its own slices.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

RUNS, INDEX = "runs.arrow", "index.npy"


@dataclass(frozen=True)
class Run:
    """Rows in order of their bucket: those of one block when they are written, those of one bucket when they are read."""

    rows: pa.RecordBatch
    ends: NDArray[np.int64]
    """Where the rows of each bucket end."""
    file: int = 0
    first_line: int = 0
    """Where the block comes from."""


def by_bucket(rows: pa.RecordBatch, bucket: NDArray[np.integer], buckets: int) -> Run:
    """Sort rows (n) by their bucket (n,), keeping their order within a bucket."""
    order = np.argsort(bucket.astype(np.uint16), kind="stable")
    columns = [
        pa.array(column.to_numpy()[order]) if pa.types.is_integer(column.type) else column.take(pa.array(order))
        for column in rows.columns
    ]
    return Run(pa.record_batch(columns, schema=rows.schema), np.cumsum(np.bincount(bucket, minlength=buckets)))


class Shuffle:
    """Appends runs to a folder. A context manager: the index is written at its end."""

    def __init__(self, folder: Path, buckets: int, schema: pa.Schema):
        self.folder, self.buckets, self.schema = folder, buckets, schema
        folder.mkdir(parents=True)
        self._writer = pa.ipc.new_file(str(folder / RUNS), schema)
        self._index: list[NDArray[np.int64]] = []

    def add(self, run: Run, file: int = 0, first_line: int = 0) -> None:
        """Append a run, and note where it comes from."""
        if run.rows.num_rows:
            self._writer.write_batch(run.rows)
            self._index.append(np.concatenate([[file, first_line, 0], run.ends]))

    def __enter__(self) -> "Shuffle":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        # One line of the index for each bucket, so that reading a bucket touches two lines of it.
        index = np.stack(self._index, axis=1) if self._index else np.zeros((3 + self.buckets, 0), np.int64)
        np.save(self.folder / INDEX, np.ascontiguousarray(index))


def read_bucket(folder: Path, bucket: int) -> Iterator[Run]:
    """The rows of a bucket, run by run, mapped into memory."""
    index = np.load(folder / INDEX, mmap_mode="r")
    begins, ends = index[2 + bucket].tolist(), index[3 + bucket].tolist()
    with pa.memory_map(str(folder / RUNS)) as source, pa.ipc.open_file(source) as runs:
        for number, (begin, end) in enumerate(zip(begins, ends, strict=True)):
            if end > begin:
                rows = runs.get_batch(number).slice(begin, end - begin)
                yield Run(rows, np.array([end - begin]), int(index[0, number]), int(index[1, number]))
