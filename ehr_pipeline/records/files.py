"""Find, check and read the files of a kind, whether text or Parquet."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

from ehr_pipeline.errors import InputError, invisible_character
from ehr_pipeline.records import parquet, text, values
from ehr_pipeline.records.dates import ISO
from ehr_pipeline.records.kinds import Kind
from ehr_pipeline.records.layouts import DelimitedText, setting
from ehr_pipeline.store.file_listing import Tree
from ehr_pipeline.work.progress import Progress

PARQUET_DATE = "%Y-%m-%d"
Layout = TypeVar("Layout", bound=DelimitedText)


def find(tree: Tree, kind: Kind) -> list[Path]:
    """Return the files of a kind among those of an extract, sorted.

    Raises InputError if a required kind has none, for a broken link, and for a name with characters that cannot be displayed.
    """
    globs = patterns(kind)
    paths = tree.matching([_any_case(glob) if kind.any_case else glob for glob in globs])
    for path in paths:
        if character := invisible_character(path.relative_to(tree.folder).as_posix()):
            raise InputError(f"{tree.folder}: the name of the file {path.name!r} contains {character}. Rename it.")
    if not paths and kind.required:
        raise InputError(
            f"{tree.folder}: no file matches {globs[0]!r} ({setting(kind.where, 'files')}). {_folder_content(tree.folder)}"
        )
    return paths


def patterns(kind: Kind) -> list[str]:
    """Return the globs of a kind of file, relative to the folder of the extract."""
    return [glob.strip() for glob in kind.files.files.split("|")]


def _any_case(glob: str) -> str:
    """Make a glob ignore upper and lower case. Letters in brackets stay as they are."""
    parts = re.split(r"(\[[^\]]*\])", glob)
    return "".join(
        part if part.startswith("[") else re.sub("[a-z]", lambda m: f"[{m[0]}{m[0].upper()}]", part.lower())
        for part in parts
    )


def _folder_content(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.is_dir() else []
    return f"It contains: {', '.join(names[:10])}." if names else "The folder is empty or missing."


def is_parquet(path: Path) -> bool:
    """Return whether a file is Parquet, by its ending."""
    return path.suffix.lower() == parquet.SUFFIX


def first_line(path: Path, kind: Kind) -> int:
    """Return the number of the first line with a row; rows of Parquet files are numbered from 1."""
    return parquet.FIRST_LINE if is_parquet(path) else text.first_line(kind.files)


def file_layout(path: Path, layout: Layout) -> Layout:
    """Return the layout for reading a file. In Parquet, dates may also be YYYY-MM-DD, since date columns become such text."""
    if is_parquet(path) and not {PARQUET_DATE, ISO} & set(layout.date_formats):
        return replace(layout, date_formats=(*layout.date_formats, PARQUET_DATE))
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
    """Yield the rows of a file in blocks (see `text.read`). Words for 'no value' are removed, except in `Block.plain`."""
    columns = columns_in_file(path, kind)
    if is_parquet(path):
        blocks = parquet.read(path, columns, kind.where, block_bytes=block_bytes, progress=progress, numbers=numbers)
    else:
        read_text = partial(text.read, block_bytes=block_bytes, progress=progress, numbers=numbers, unended=unended)
        blocks = read_text(path, kind.files, columns, kind.where)
    for split in blocks:
        yield partial(_with_values, split, kind.no_value)


def _with_values(split: Callable[[], text.Block], no_value: tuple[str, ...]) -> text.Block:
    """Return a block in which words for 'no value' are replaced by empty texts."""
    block = split()
    return replace(block, rows=values.without_words(block.rows, no_value))


def read_header(path: Path, kind: Kind) -> None:
    """Raise InputError unless a file has the wanted columns. Reads no rows."""
    columns = columns_in_file(path, kind)
    if is_parquet(path):
        parquet.read_header(path, columns, kind.where)
    else:
        text.read_header(path, kind.files, columns, kind.where)


def columns_in_file(path: Path, kind: Kind) -> dict[str, str]:
    """Return the wanted columns, spelled as in this file if its kind does not distinguish upper and lower case."""
    columns = kind.wanted
    if not kind.any_case:
        return columns
    in_file = {name.lower(): name for name in _names(path, kind.files)}
    return {
        role: in_file.get(name.lower(), name)
        for role, name in columns.items()
        if role not in kind.optional or name.lower() in in_file
    }


def _names(path: Path, layout: DelimitedText) -> list[str]:
    if is_parquet(path):
        return parquet.names(path)
    try:
        return text.names(path, layout)
    except InputError:
        return []  # reported when the file is read
