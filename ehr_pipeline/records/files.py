"""The files of a kind, be they text or Parquet: found, looked at, and read."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from ehr_pipeline.errors import InputError
from ehr_pipeline.progress import Progress
from ehr_pipeline.records import parquet, text
from ehr_pipeline.records.dates import ISO
from ehr_pipeline.records.kinds import Kind
from ehr_pipeline.records.layouts import DelimitedText

AS_WRITTEN = "%Y-%m-%d"
Layout = TypeVar("Layout", bound=DelimitedText)


def find(folder: Path, kind: Kind) -> list[Path]:
    """The files of a kind in the folder of an extract, sorted. Raises InputError when there is none, unless none need be."""
    globs = [glob.strip() for glob in kind.layout.files.split("|")]
    present = [glob for glob in globs if any(path.is_file() for path in folder.glob(glob))]
    if not present and not kind.required:
        return []
    # Nothing there: the look for the first one tells what was asked for and what there is.
    layouts = [replace(kind.layout, files=glob) for glob in present or globs[:1]]
    return sorted({path for layout in layouts for path in text.find(folder, layout, kind.where)})


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its ending."""
    return path.suffix.lower() == parquet.SUFFIX


def first_line(path: Path, kind: Kind) -> int:
    """The number of the first line of a file that holds a row; rows of Parquet files count from 1."""
    return parquet.FIRST_LINE if is_parquet(path) else text.first_line(kind.layout)


def as_read(path: Path, layout: Layout) -> Layout:
    """The layout with the form in which dates come out of the file: those that Parquet types as dates are written YYYY-MM-DD."""
    if is_parquet(path) and not {AS_WRITTEN, ISO} & set(layout.date_formats):
        return replace(layout, date_formats=(*layout.date_formats, AS_WRITTEN))
    return layout


def read(
    path: Path, kind: Kind, block_bytes: int, progress: Progress, numbers: tuple[str, ...] = ()
) -> Iterator[Callable[[], text.Block]]:
    """Yield the rows of a file, block by block (see `text.read`)."""
    columns = spelled(path, kind)
    if is_parquet(path):
        return parquet.read(path, columns, kind.where, block_bytes, progress, numbers)
    return text.read(path, kind.layout, columns, kind.where, block_bytes, progress, numbers)


def read_header(path: Path, kind: Kind) -> None:
    """Look at the columns of a file alone, and raise InputError unless the wanted ones are there."""
    columns = spelled(path, kind)
    if is_parquet(path):
        parquet.read_header(path, columns, kind.where)
    else:
        text.read_header(path, kind.layout, columns, kind.where)


def spelled(path: Path, kind: Kind) -> dict[str, str]:
    """The wanted columns as this file spells them, where upper and lower case are the same."""
    columns = kind.wanted
    if not kind.any_case:
        return columns
    own = {name.lower(): name for name in _names(path, kind.layout)}
    return {role: own.get(name.lower(), name) for role, name in columns.items()}


def _names(path: Path, layout: DelimitedText) -> list[str]:
    if is_parquet(path):
        return parquet.names(path)
    try:
        return text.names(path, layout)
    except InputError:
        return []  # what is wrong with the file is told when it is read
