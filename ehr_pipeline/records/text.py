"""Delimited text in blocks of whole lines, with the line number of every row, in memory that the file's size does not set."""

import csv
import gzip
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.errors import InputError
from ehr_pipeline.progress import Progress
from ehr_pipeline.records.settings import DelimitedText

NEWLINE = 10
REPLACEMENT = "\ufffd"  # what an undecodable byte becomes; such ids are rejected, never guessed


@dataclass(frozen=True)
class Block:
    """Some rows of one file."""

    rows: pl.DataFrame
    """`line` (int64, from 1) and one column of stripped strings for each wanted column; missing values are empty."""
    rejected: pl.DataFrame
    """`line` and `reason` of the lines that are no rows at all."""


def find(folder: Path, layout: DelimitedText, where: str) -> list[Path]:
    """The files of one kind, sorted by name. Raises InputError when there is none."""
    paths = sorted(path for path in folder.glob(layout.files) if path.is_file())
    if not paths:
        present = sorted(path.name for path in folder.iterdir())[:10] if folder.is_dir() else []
        listed = f"It holds: {', '.join(present)}." if present else "The folder is empty or missing."
        raise InputError(f"{folder}: no file matches {layout.files!r} ({where}.files). {listed}")
    return paths


def read(
    path: Path, layout: DelimitedText, columns: Mapping[str, str], where: str, block_bytes: int, progress: Progress
) -> Iterator[Block]:
    """Yield the rows of a file, block by block.

    `columns` maps the names that the rows get to the file's own; `where` is the settings section to name in messages.
    Raises InputError for a missing column or a damaged gzip stream.
    """
    size, line = path.stat().st_size, 1
    with path.open("rb") as raw:
        stream = _decompressed(raw)
        blocks = _utf8_blocks(path, stream, layout.encoding, block_bytes)
        header: list[str] | None = list(layout.header) or None
        places = _places(path, header, columns, layout, where) if header else {}
        position = 0
        for block in blocks:
            if header is None:
                first, _, block = block.partition(b"\n")
                header = _header(first.decode(), layout)
                places = _places(path, header, columns, layout, where)
                line = 2
            if block:
                yield _split(block, line, len(header), places, layout)
                line += block.count(b"\n")
            progress.advance(raw.tell() - position)
            position = raw.tell()
        if header is None:
            raise InputError(
                f"{path}: the file is empty; a header line with {', '.join(columns.values())} was expected."
            )
    progress.advance(size - position)


def read_header(path: Path, layout: DelimitedText, columns: Mapping[str, str], where: str) -> None:
    """Read the first line alone, and raise InputError unless the wanted columns are in it."""
    if layout.header:
        _places(path, list(layout.header), columns, layout, where)
        return
    with path.open("rb") as raw:
        first = next(_utf8_blocks(path, _decompressed(raw), layout.encoding, 1 << 16), b"")
    if not first:
        raise InputError(f"{path}: the file is empty; a header line with {', '.join(columns.values())} was expected.")
    _places(path, _header(first.partition(b"\n")[0].decode(), layout), columns, layout, where)


def _decompressed(raw: BinaryIO) -> BinaryIO:
    magic = raw.read(2)
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if magic == b"\x1f\x8b" else raw  # type: ignore[return-value]


def _utf8_blocks(path: Path, stream: BinaryIO, encoding: str, block_bytes: int) -> Iterator[bytes]:
    """Blocks of whole lines that end in a plain newline, as UTF-8 without a byte order mark."""
    rest, lines, first = b"", 0, True
    while True:
        try:
            chunk = stream.read(block_bytes)
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{path}: the gzip stream is damaged or cut off after line {lines} ({error}). Copy the file again."
            ) from None
        if not chunk:
            break
        cut = chunk.rfind(b"\n") + 1
        if cut:
            block = _utf8(rest + chunk[:cut], encoding, first)
            yield block
            rest, first = chunk[cut:], False
            lines += block.count(b"\n")
        else:
            rest += chunk
    if rest:
        yield _utf8(rest + b"\n", encoding, first)


def _utf8(block: bytes, encoding: str, first: bool) -> bytes:
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig", "ascii"):
        try:
            block.decode()
        except UnicodeDecodeError:
            block = block.decode(errors="replace").encode()
        if first:
            block = block.removeprefix(b"\xef\xbb\xbf")
    else:
        block = block.decode(encoding, errors="replace").encode()
    return block.replace(b"\r\n", b"\n") if b"\r" in block else block


def _header(line: str, layout: DelimitedText) -> list[str]:
    return [name.strip() for name in _parse_line(line, layout) or [line]]


def _parse_line(line: str, layout: DelimitedText) -> list[str] | None:
    """The fields of one line by the rules of CSV, or None when its quotes do not close."""
    quoting = {"quotechar": layout.quote} if layout.quote else {"quoting": csv.QUOTE_NONE}
    try:
        return next(csv.reader([line], delimiter=layout.delimiter, strict=True, **quoting))
    except (csv.Error, StopIteration):
        return None


def _places(
    path: Path, header: list[str], columns: Mapping[str, str], layout: DelimitedText, where: str
) -> dict[str, int]:
    missing = {role: name for role, name in columns.items() if name not in header}
    if missing:
        asked = "; ".join(f"{name!r} ({_setting(where, role)})" for role, name in missing.items())
        hint = ""
        if len(header) == 1:
            counts = {mark: header[0].count(mark) for mark in "\t,;|" if mark != layout.delimiter}
            best = max(counts, key=lambda mark: counts[mark])
            hint = (
                f" The line has one field only: the delimiter is perhaps {best!r} ({where}.delimiter)."
                if counts[best]
                else ""
            )
        raise InputError(f"{path}, line 1: no column {asked}. The header has: {', '.join(header[:30])}.{hint}")
    return {role: header.index(name) for role, name in columns.items()}


def _setting(where: str, role: str) -> str:
    """The setting that names a column: 'records.events[0].columns.code', 'records.patients[0].attributes.region'."""
    kind, _, name = role.rpartition(":")
    return f"{where}.attributes.{name}" if kind else f"{where}.columns.{role}"


def _split(block: bytes, first_line: int, width: int, places: dict[str, int], layout: DelimitedText) -> Block:
    """Split whole lines into the wanted fields; lines with another number of fields are rejected, one by one."""
    characters = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(characters == NEWLINE)
    separators = np.flatnonzero(characters == ord(layout.delimiter))
    found = np.diff(np.searchsorted(separators, ends), prepend=0)
    plain = found == width - 1
    quoted = np.zeros(len(ends), bool)
    if layout.quote and layout.quote.encode() in block:
        quoted[np.searchsorted(ends, np.flatnonzero(characters == ord(layout.quote)))] = True
        plain &= ~quoted
    numbers = np.arange(first_line, first_line + len(ends), dtype=np.int64)
    if not plain.all():
        lengths = np.diff(ends, prepend=-1)
        text = characters[np.repeat(plain, lengths)].tobytes()
    else:
        text = block
    rows = _columns(text, numbers[plain], places, layout.delimiter)
    rejected = [_rejects(numbers[~plain & ~quoted], ends, first_line)]
    if quoted.any():
        more, bad = _quoted_rows(block, ends, np.flatnonzero(quoted), first_line, width, places, layout)
        rows = pl.concat([rows, more]).sort("line")
        rejected.append(bad)
    return Block(rows, pl.concat(rejected))


def _columns(text: bytes, numbers: NDArray[np.int64], places: dict[str, int], delimiter: str) -> pl.DataFrame:
    line = pl.Series("line", numbers)
    if not len(numbers):
        return pl.DataFrame({"line": line, **{role: pl.Series([], dtype=pl.String) for role in places}})
    wanted = sorted(set(places.values()))
    frame = pl.read_csv(
        text, separator=delimiter, has_header=False, quote_char=None, infer_schema=False, columns=wanted
    )
    names = dict(zip(wanted, frame.columns, strict=True))
    values = [pl.col(names[place]).fill_null("").str.strip_chars().alias(role) for role, place in places.items()]
    return frame.select(line, *values)


def _rejects(numbers: NDArray[np.int64], ends: NDArray[np.int64], first_line: int) -> pl.DataFrame:
    index = numbers - first_line
    empty = np.diff(ends, prepend=-1)[index] == 1
    reason = np.where(empty, "empty_line", "wrong_number_of_fields")
    return pl.DataFrame({"line": pl.Series(numbers, dtype=pl.Int64), "reason": pl.Series(reason, dtype=pl.String)})


def _quoted_rows(
    block: bytes,
    ends: NDArray[np.int64],
    index: NDArray[np.int64],
    first_line: int,
    width: int,
    places: dict[str, int],
    layout: DelimitedText,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lines that hold a quote, one at a time. A quoted line break is not supported: both of its lines are rejected."""
    good: dict[str, list[str]] = {role: [] for role in places}
    lines, bad = [], []
    for i in index.tolist():
        start = int(ends[i - 1]) + 1 if i else 0
        fields = _parse_line(block[start : int(ends[i])].decode(), layout)
        if fields is None or len(fields) != width:
            bad.append((first_line + i, "unclosed_quote" if fields is None else "wrong_number_of_fields"))
            continue
        lines.append(first_line + i)
        for role, place in places.items():
            good[role].append(fields[place].strip())
    rows = pl.DataFrame(
        {
            "line": pl.Series(lines, dtype=pl.Int64),
            **{role: pl.Series(values, dtype=pl.String) for role, values in good.items()},
        }
    )
    return rows, pl.DataFrame(bad, schema={"line": pl.Int64, "reason": pl.String}, orient="row")
