"""Distribute rows to buckets: the only shuffle. All later stages work on one bucket at a time.

Every block of rows is sorted by bucket and appended to one file as an Arrow batch (a "run"); an index has the beginning of each
bucket in each batch. So only one file is open, however many buckets there are, and reading a bucket touches only its own slices.
"""

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.tables.compiled_loops import compiled
from ehr_pipeline.work.buckets import read_once

RUNS, INDEX = "runs.arrow", "index.npy"
ROWS_AT_ONCE = 1 << 16  # rows that are copied out of the file in one step


@dataclass(frozen=True)
class Run:
    """The rows of one block in order of their bucket."""

    rows: pa.RecordBatch
    ends: NDArray[np.int64]
    """Where the rows of each bucket end."""


@dataclass(frozen=True)
class Bucket:
    """The rows of one bucket; and for each run (see `Run`): how many of them it has, its file number, and its first line."""

    rows: pa.Table
    sizes: NDArray[np.int64]
    files: NDArray[np.int64]
    first_lines: NDArray[np.int64]

    def places(self, line: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return file number and line (n,) of the rows; `line` (n,) is counted within each row's block."""
        return np.repeat(self.files, self.sizes), np.repeat(self.first_lines, self.sizes) + line


def by_bucket(rows: pa.RecordBatch, bucket: NDArray[np.int32], buckets: int) -> Run:
    """Sort rows (n) by their bucket (n,), keeping their order within a bucket."""
    order, ends = np.empty(len(bucket), np.int64), np.empty(buckets, np.int64)
    _order(bucket, order, ends)
    columns = [
        pa.array(_taken(column.to_numpy(), order)) if pa.types.is_integer(column.type) else column.take(pa.array(order))
        for column in rows.columns
    ]
    return Run(pa.record_batch(columns, schema=rows.schema), ends)


def _taken(values: NDArray[np.integer], order: NDArray[np.int64]) -> NDArray[np.integer]:
    """Return the values (n,) in this order (n,), in half the time of numpy, which checks each index."""
    taken = np.empty_like(values)
    _take(values, order, taken)
    return taken


@compiled
def _take(values: NDArray[np.integer], order: NDArray[np.int64], taken: NDArray[np.integer]) -> None:
    for place in range(len(order)):
        taken[place] = values[order[place]]


@compiled
def _order(bucket: NDArray[np.int32], order: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
    """Counting sort: fill `order` (n,), the positions of rows sorted by bucket (n,), and `ends` (buckets,), where each bucket
    ends."""
    for each in range(len(ends)):
        ends[each] = 0
    for each in bucket:
        ends[each] += 1
    begin = 0
    for each in range(len(ends)):  # the position of each bucket's next row, and at last its end
        ends[each], begin = begin, begin + ends[each]
    for place in range(len(bucket)):
        order[ends[bucket[place]]] = place
        ends[bucket[place]] += 1


class Shuffle:
    """Appends runs to a folder. A context manager that writes the index on exit."""

    def __init__(self, folder: Path, buckets: int, schema: pa.Schema):
        self.folder, self.buckets, self.schema = folder, buckets, schema
        folder.mkdir(parents=True)
        self._writer = pa.ipc.new_file(str(folder / RUNS), schema)
        self._index: list[NDArray[np.int64]] = []

    def add(self, run: Run, file: int = 0, first_line: int = 0) -> None:
        """Append a run, with its file and its first line."""
        if run.rows.num_rows:
            self._writer.write_batch(run.rows)
            self._index.append(np.concatenate([[file, first_line, 0], run.ends]))

    def __enter__(self) -> "Shuffle":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
        # One row of the index per bucket, so that reading a bucket touches two rows of it.
        index = np.stack(self._index, axis=1) if self._index else np.zeros((3 + self.buckets, 0), np.int64)
        np.save(self.folder / INDEX, np.ascontiguousarray(index))


@dataclass(frozen=True)
class _OpenRuns:
    """The runs of a folder, mapped into memory."""

    stream: BinaryIO
    mapped: mmap.mmap
    schema: pa.Schema
    runs: list[pa.RecordBatch]
    index: NDArray[np.int64]
    begins: NDArray[np.int64]
    """Where each column of each run (runs, columns) begins in the file, if all columns are integers."""

    def __del__(self) -> None:
        self.stream.close()


@read_once(3)
def _open(folder: Path) -> _OpenRuns:
    """Open a folder once for all its buckets: reading every run's header per bucket would take longer than reading its rows."""
    stream = (folder / RUNS).open("rb")
    mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    reader = pa.ipc.open_file(buffer := pa.py_buffer(mapped))
    runs = [reader.get_batch(number) for number in range(reader.num_record_batches)]
    is_plain = all(pa.types.is_integer(kind) for kind in reader.schema.types)
    begins = [[column.buffers()[1].address - buffer.address for column in run.columns] for run in runs if is_plain]
    index = np.load(folder / INDEX, mmap_mode="r")
    return _OpenRuns(stream, mapped, reader.schema, runs, index, np.array(begins, np.int64))


def read_bucket(folder: Path, bucket: int) -> Bucket:
    """Return the rows of a bucket, in order of the runs."""
    opened = _open(folder)
    begins, ends = opened.index[2 + bucket], opened.index[3 + bucket]
    runs_with_rows = np.flatnonzero(ends > begins)
    sizes = (ends - begins)[runs_with_rows]
    places = opened.index[0, runs_with_rows], opened.index[1, runs_with_rows]
    if len(opened.begins):
        return Bucket(_read_columns(opened, runs_with_rows, begins, sizes), sizes, *places)
    parts: list[pa.Table] = []
    slices: list[pa.RecordBatch] = []
    gathered = 0
    for run, begin, size in zip(runs_with_rows.tolist(), begins[runs_with_rows].tolist(), sizes.tolist(), strict=True):
        slices.append(opened.runs[run].slice(begin, size))
        gathered += size
        if gathered >= ROWS_AT_ONCE:
            parts.append(_copied(slices, opened))
            slices, gathered = [], 0
    if slices:
        parts.append(_copied(slices, opened))
    rows = pa.concat_tables(parts).combine_chunks() if parts else opened.schema.empty_table()
    return Bucket(rows, sizes, *places)


def _read_columns(
    opened: _OpenRuns, runs: NDArray[np.int64], begins: NDArray[np.int64], sizes: NDArray[np.int64]
) -> pa.Table:
    """Read the rows of a bucket if all columns are integers: into place, so that nothing is mapped or copied twice."""
    columns, file = list[pa.Array](), opened.stream.fileno()
    for number, kind in enumerate(opened.schema.types):
        column = np.empty(sizes.sum(), kind.to_pandas_dtype())
        part, width = column.view(np.uint8).data, column.itemsize
        starts = opened.begins[runs, number] + begins[runs] * width
        for start, size in zip(starts.tolist(), (sizes * width).tolist(), strict=True):
            done = 0
            while done < size:
                done += (read := os.preadv(file, [part[done:size]], start + done))
                assert read, "the file of runs has become shorter"
            part = part[size:]
        columns.append(pa.array(column))
    return pa.table(columns, schema=opened.schema)


def _copied(slices: list[pa.RecordBatch], opened: _OpenRuns) -> pa.Table:
    """Copy slices to new memory: otherwise, pages of the mapped file would count as memory of the process until it ends."""
    table = pa.Table.from_batches(slices).combine_chunks()
    opened.mapped.madvise(mmap.MADV_DONTNEED)
    return table
