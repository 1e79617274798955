"""The files of a kind, be they text or Parquet: found, looked at, and read."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from ehr_pipeline.errors import InputError, unseen
from ehr_pipeline.records import parquet, text, values
from ehr_pipeline.records.dates import ISO
from ehr_pipeline.records.kinds import Kind
from ehr_pipeline.records.layouts import DelimitedText, setting
from ehr_pipeline.store.walk import Tree
from ehr_pipeline.work.progress import Progress

AS_WRITTEN = "%Y-%m-%d"
Layout = TypeVar("Layout", bound=DelimitedText)


def find(tree: Tree, kind: Kind) -> list[Path]:
    """The files of a kind among those of an extract, sorted.

    Raises InputError when there is none, unless none need be, for a link that leads nowhere, and for a name that cannot be told or
    written down.
    """
    globs = patterns(kind)
    paths = tree.matching([_any_case(glob) if kind.any_case else glob for glob in globs])
    for path in paths:
        if character := unseen(path.relative_to(tree.folder).as_posix()):
            raise InputError(f"{tree.folder}: the name of the file {path.name!r} holds {character}. Rename it.")
    if not paths and kind.required:
        raise InputError(
            f"{tree.folder}: no file matches {globs[0]!r} ({setting(kind.where, 'files')}). {_present(tree.folder)}"
        )
    return paths


def patterns(kind: Kind) -> list[str]:
    """The globs of a kind of file, relative to the folder of an extract."""
    return [glob.strip() for glob in kind.files.files.split("|")]


def _any_case(glob: str) -> str:
    """A glob that matches upper and lower case alike. Letters in brackets stay as they are."""
    parts = re.split(r"(\[[^\]]*\])", glob)
    return "".join(
        part if part.startswith("[") else re.sub("[a-z]", lambda m: f"[{m[0]}{m[0].upper()}]", part.lower())
        for part in parts
    )


def _present(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    return f"It holds: {', '.join(names[:10])}." if names else "The folder is empty or missing."


def is_parquet(path: Path) -> bool:
    """Whether a file is Parquet, by its ending."""
    return path.suffix.lower() == parquet.SUFFIX


def first_line(path: Path, kind: Kind) -> int:
    """The number of the first line of a file that holds a row; rows of Parquet files count from 1."""
    return parquet.FIRST_LINE if is_parquet(path) else text.first_line(kind.files)


def as_read(path: Path, layout: Layout) -> Layout:
    """The layout with the form in which dates come out of the file: those that Parquet types as dates are written YYYY-MM-DD."""
    if is_parquet(path) and not {AS_WRITTEN, ISO} & set(layout.date_formats):
        return replace(layout, date_formats=(*layout.date_formats, AS_WRITTEN))
    return layout


def read(
    path: Path,
    kind: Kind,
    *,
    block_bytes: int,
    progress: Progress,
    numbers: tuple[str, ...] = (),
    unended: Callable[[], None] = lambda: None,
) -> Iterator[Callable[[], text.Block]]:
    """Yield the rows of a file, block by block (see `text.read`). In `Block.plain` words for 'no value' stand as they are."""
    columns = spelled(path, kind)
    if is_parquet(path):
        blocks = parquet.read(path, columns, kind.where, block_bytes=block_bytes, progress=progress, numbers=numbers)
    else:
        read_text = partial(text.read, block_bytes=block_bytes, progress=progress, numbers=numbers, unended=unended)
        blocks = read_text(path, kind.files, columns, kind.where)
    for split in blocks:
        yield partial(_with_values, split, kind.no_value)


def _with_values(split: Callable[[], text.Block], no_value: tuple[str, ...]) -> text.Block:
    """A block whose texts are empty where they say that there is no value."""
    block = split()
    return replace(block, rows=values.emptied(block.rows, no_value))


def read_header(path: Path, kind: Kind) -> None:
    """Look at the columns of a file alone, and raise InputError unless the wanted ones are there."""
    columns = spelled(path, kind)
    if is_parquet(path):
        parquet.read_header(path, columns, kind.where)
    else:
        text.read_header(path, kind.files, columns, kind.where)


def spelled(path: Path, kind: Kind) -> dict[str, str]:
    """The wanted columns as this file spells them, where upper and lower case are the same."""
    columns = kind.wanted
    if not kind.any_case:
        return columns
    own = {name.lower(): name for name in _names(path, kind.files)}
    return {
        role: own.get(name.lower(), name)
        for role, name in columns.items()
        if role not in kind.optional or name.lower() in own
    }


def _names(path: Path, layout: DelimitedText) -> list[str]:
    if is_parquet(path):
        return parquet.names(path)
    try:
        return text.names(path, layout)
    except InputError:
        return []  # what is wrong with the file is told when it is read
