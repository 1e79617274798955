"""Read Parquet files in blocks. The result has the same form as in `text`, with the numbers of rows instead of lines."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import ids
from ehr_pipeline.records.text import Block
from ehr_pipeline.tables import plain_numbers
from ehr_pipeline.work.progress import Progress

SUFFIX = ".parquet"
FIRST_LINE = 1
EXACT_SHORT = 2**24
"""From this size, a whole number stored as float32 may differ from the original."""
ROW_BYTES = 32  # for patient, date and code in memory: turns a block's size in bytes into rows


def read(
    path: Path,
    columns: Mapping[str, str],
    where: str,
    *,
    block_bytes: int,
    progress: Progress,
    numbers: tuple[str, ...] = (),
) -> Iterator[Callable[[], Block]]:
    """Yield the rows of a file as `text.read` does. Raises InputError for a missing column or a damaged file."""
    size = path.stat().st_size
    with _opened(path, columns, where) as file:
        wanted = sorted(set(columns.values()))
        rows, done = file.metadata.num_rows, 0
        try:
            for batch in file.iter_batches(max(1, block_bytes // ROW_BYTES), columns=wanted, use_threads=False):
                yield partial(_block, batch, dict(columns), numbers)
                progress.advance(size * batch.num_rows // max(rows, 1))
                done += size * batch.num_rows // max(rows, 1)
        except (OSError, pa.ArrowException) as error:
            raise InputError(
                f"{path}: this Parquet file is damaged ({str(error).splitlines()[0]}). Copy the file again."
            ) from None
    progress.advance(size - done)


def read_header(path: Path, columns: Mapping[str, str], where: str) -> None:
    """Raise InputError unless the file has the wanted columns. Reads only the schema."""
    _opened(path, columns, where).close()


def names(path: Path) -> list[str]:
    """Return the names of the columns. Raises InputError for a damaged file."""
    with _opened(path, {}, "") as file:
        return list(file.schema_arrow.names)


def _opened(path: Path, columns: Mapping[str, str], where: str) -> pq.ParquetFile:
    try:
        file = pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            f"{path}: not a Parquet file, or truncated ({str(error).splitlines()[0]}). Copy it again, or exclude it from `files`."
        ) from None
    schema = file.schema_arrow
    missing = [f"{name!r} ({where}: {role})" for role, name in columns.items() if name not in schema.names]
    nested = [name for name in columns.values() if name in schema.names and pa.types.is_nested(schema.field(name).type)]
    if missing:
        raise InputError(f"{path}: no column {'; '.join(missing)}. The file has: {', '.join(schema.names[:30])}.")
    if nested:
        raise InputError(
            f"{path}: column {', '.join(nested)} contains lists or structures; export it with one value per row."
        )
    return file


def _block(batch: pa.RecordBatch, columns: dict[str, str], numbers: tuple[str, ...]) -> Block:
    """Return a block in which plain numbers and dates keep their type. Rows with a number that is not plain become text."""
    frame = pl.DataFrame(pa.table(batch))
    frame = frame.select(_value(frame[name]).alias(role) for role, name in columns.items())
    frame = frame.insert_column(0, pl.Series("line", np.arange(batch.num_rows, dtype=np.int64)))
    inexact = np.zeros(frame.height, bool)
    for role in numbers:
        if frame[role].dtype.is_float():
            inexact |= _inexact(frame[role])
    rejected = frame.filter(pl.Series(inexact)).select("line", reason=pl.lit(ids.INEXACT))
    frame = frame.filter(pl.Series(~inexact)) if inexact.any() else frame
    frame = frame.with_columns(
        pl.col(role).fill_nan(None).cast(pl.Int64) for role in numbers if frame[role].dtype.is_float()
    )
    if not numbers or not all(frame[role].dtype == pl.Int64 for role in numbers):
        return Block(_texts(frame), rejected, batch.num_rows)
    good = np.ones(frame.height, bool)
    for role in numbers:
        values = frame[role].fill_null(0).to_numpy()
        good &= (values > 0) & (values < plain_numbers.LIMIT)
    others = [role for role in columns if role not in numbers and frame[role].dtype not in (pl.Date, pl.String)]
    numeric = frame.filter(pl.Series(good)).with_columns(pl.col(role).cast(pl.String) for role in others)
    return Block(_texts(frame.filter(pl.Series(~good))), rejected, batch.num_rows, numeric)


def _value(column: pl.Series) -> pl.Series:
    """Convert a column: integers and whole decimals to int64 (to text if too large), timestamps to dates, categories to text."""
    kind = column.dtype
    if kind.is_integer():
        numbers = column.cast(pl.Int64, strict=False)
        return column.cast(pl.String) if numbers.null_count() > column.null_count() else numbers
    if isinstance(kind, pl.Datetime):
        return column.dt.date()
    if isinstance(kind, pl.Decimal):  # as Oracle and Spark write whole numbers
        numbers = column.cast(pl.Int64, strict=False)
        return numbers if (numbers.cast(kind) == column).all() else column.cast(pl.String)
    if kind == pl.Float32 and (column.fill_nan(None).abs() >= EXACT_SHORT).any():
        return _rounded(column.fill_nan(None))
    return column if kind == pl.Date or kind.is_float() else column.cast(pl.String)


def _rounded(column: pl.Series) -> pl.Series:
    """Return float32 numbers as texts. Numbers that may be inexact get an exponent, so they are not taken for ids."""
    texts = (None if x is None else f"{x:.7E}" if abs(x) >= EXACT_SHORT else str(x) for x in column.to_list())
    return pl.Series(column.name, texts, pl.String)


def _inexact(column: pl.Series) -> NDArray[np.bool_]:
    """Return flags (n,) of the floating-point numbers that are not whole, or too large to be exact in float64."""
    values = column.cast(pl.Float64).fill_null(0).fill_nan(0).to_numpy()
    inexact: NDArray[np.bool_] = (np.abs(values) >= ids.EXACT) | (values != np.floor(values))
    return inexact


def _texts(frame: pl.DataFrame) -> pl.DataFrame:
    """Return all columns but `line` as stripped texts: missing values are empty, dates are YYYY-MM-DD."""
    return frame.with_columns(
        (pl.col(name).dt.to_string("%Y-%m-%d") if kind == pl.Date else pl.col(name).cast(pl.String))
        .fill_null("")
        .str.strip_chars()
        for name, kind in frame.schema.items()
        if name != "line"
    )
