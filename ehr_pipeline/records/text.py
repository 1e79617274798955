"""Delimited text in blocks of whole lines, with the line number of every row, in memory that the file's size does not set."""

import csv
import gzip
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline import plain
from ehr_pipeline.errors import InputError
from ehr_pipeline.progress import Progress
from ehr_pipeline.records.layouts import DelimitedText

NEWLINE = 10
ASCII_COMPATIBLE = ("latin-1", "iso-8859-1", "iso-8859-15", "cp1252", "windows-1252")
REPLACEMENT = "\ufffd"  # what an undecodable byte becomes; such ids are rejected, never guessed


@dataclass(frozen=True)
class Block:
    """Some rows of one file."""

    rows: pl.DataFrame
    """`line` (int64, from 0 at the beginning of the block), and stripped strings for each wanted column; missing values
    are empty."""
    rejected: pl.DataFrame
    """`line` and `reason` of the lines that are no rows at all."""
    plain: pl.DataFrame | None = None
    """Further rows, whose numbers are plain: `line`, the numbers as int64, the other columns as they stand (not stripped)."""

    @property
    def lines(self) -> int:
        """How many lines the block had."""
        return self.rows.height + self.rejected.height + (self.plain.height if self.plain is not None else 0)


def find(folder: Path, layout: DelimitedText, where: str) -> list[Path]:
    """The files of one kind, sorted by name. Raises InputError when there is none."""
    paths = sorted(path for path in folder.glob(layout.files) if path.is_file())
    if not paths:
        present = sorted(path.name for path in folder.iterdir())[:10] if folder.is_dir() else []
        listed = f"It holds: {', '.join(present)}." if present else "The folder is empty or missing."
        raise InputError(f"{folder}: no file matches {layout.files!r} ({where}.files). {listed}")
    return paths


def read(
    path: Path,
    layout: DelimitedText,
    columns: Mapping[str, str],
    where: str,
    block_bytes: int,
    progress: Progress,
    numbers: tuple[str, ...] = (),
) -> Iterator[Callable[[], Block]]:
    """Yield the rows of a file, block by block, each as a function that splits it: they may be called on several threads.

    `columns` maps the names that the rows get to the file's own; `where` is the settings section to name in messages. Columns named
    in `numbers` mostly hold plain numbers; rows in which they do go a faster way (`Block.plain`) with the same result.
    Raises InputError for a missing column or a damaged gzip stream.
    """
    size = path.stat().st_size
    with path.open("rb") as raw:
        stream = _decompressed(raw)
        blocks = _blocks(path, stream, block_bytes)
        header: list[str] | None = list(layout.header) or None
        places = _places(path, header, columns, layout, where) if header else {}
        position = 0
        for number, block in enumerate(blocks):
            if header is None:
                first, _, block = block.partition(b"\n")
                header = _header(_utf8(first, layout.encoding, first=True).decode(), layout)
                places = _places(path, header, columns, layout, where)
            if block:
                bom = number == 0 and bool(layout.header)
                yield partial(_split, block, bom, len(header), places, layout, numbers)
            progress.advance(raw.tell() - position)
            position = raw.tell()
        if header is None:
            raise InputError(
                f"{path}: the file is empty; a header line with {', '.join(columns.values())} was expected."
            )
    progress.advance(size - position)


def first_line(layout: DelimitedText) -> int:
    """The number of the first line of a file that holds a row."""
    return 1 if layout.header else 2


def read_header(path: Path, layout: DelimitedText, columns: Mapping[str, str], where: str) -> None:
    """Read the first line alone, and raise InputError unless the wanted columns are in it."""
    if layout.header:
        _places(path, list(layout.header), columns, layout, where)
        return
    with path.open("rb") as raw:
        first = next(_blocks(path, _decompressed(raw), 1 << 16), b"")
    if not first:
        raise InputError(f"{path}: the file is empty; a header line with {', '.join(columns.values())} was expected.")
    line = _utf8(first.partition(b"\n")[0], layout.encoding, first=True).decode()
    _places(path, _header(line, layout), columns, layout, where)


def _decompressed(raw: BinaryIO) -> BinaryIO:
    magic = raw.read(2)
    raw.seek(0)
    return gzip.GzipFile(fileobj=raw) if magic == b"\x1f\x8b" else raw  # type: ignore[return-value]


def _blocks(path: Path, stream: BinaryIO, block_bytes: int) -> Iterator[bytes]:
    """Blocks of whole lines, as they stand in the file; the last line gets its newline where it has none."""
    done = 0
    while True:
        try:
            block = stream.read(block_bytes)
            if block and not block.endswith(b"\n"):
                block += stream.readline()
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise InputError(
                f"{path}: the gzip stream is damaged or cut off after {done:,} bytes of text ({error})."
                " Copy the file again."
            ) from None
        if not block:
            return
        done += len(block)
        yield block if block.endswith(b"\n") else block + b"\n"


def _utf8(block: bytes, encoding: str, first: bool) -> bytes:
    """Text as UTF-8 without a byte order mark and with plain newlines; undecodable bytes become `REPLACEMENT`."""
    if encoding.lower().replace("_", "-") in ("utf-8", "utf8", "utf-8-sig", "ascii"):
        if block.isascii():
            return block.replace(b"\r\n", b"\n") if b"\r" in block else block
        try:
            block.decode()
        except UnicodeDecodeError:
            block = block.decode(errors="replace").encode()
        if first:
            block = block.removeprefix(b"\xef\xbb\xbf")
    elif not (block.isascii() and encoding in ASCII_COMPATIBLE):
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


def _split(
    raw: bytes,
    bom: bool,
    width: int,
    places: dict[str, int],
    layout: DelimitedText,
    numbers: tuple[str, ...],
) -> Block:
    """Split whole lines into the wanted fields: the plain ones at once, the others with care."""
    block = _utf8(raw, layout.encoding, bom)
    only_wanted = sorted(places.values()) == list(range(width))
    if numbers and only_wanted and not (layout.quote and layout.quote.encode() in block):
        frame, length = _plain(block, places, layout.delimiter, numbers)
        plain = frame.with_columns(line=np.arange(frame.height, dtype=np.int64))
        if length.sum() == len(block) and length.all():
            return Block(*_nothing(places), plain)
        ends = np.flatnonzero(np.frombuffer(block, np.uint8) == NEWLINE)
        clean = length == np.diff(ends, prepend=-1) if len(length) == len(ends) else np.zeros(1, bool)
        if clean.mean() > 0.5:
            rest = np.flatnonzero(~clean)
            begins = np.where(rest > 0, ends[rest - 1] + 1, 0).tolist()
            text = b"".join(block[begin:end] for begin, end in zip(begins, (ends[rest] + 1).tolist(), strict=True))
            found = _split_with_care(text, width, places, layout, rest)
            return Block(found.rows, found.rejected, plain.filter(pl.Series(clean)))
    return _split_with_care(block, width, places, layout)


def _nothing(places: dict[str, int]) -> tuple[pl.DataFrame, pl.DataFrame]:
    none = np.empty(0, np.int64)
    return _columns(b"", none, places, ""), _rejects(none, none)


def _plain(
    block: bytes, places: dict[str, int], delimiter: str, numbers: tuple[str, ...]
) -> tuple[pl.DataFrame, NDArray[np.int64]]:
    """Read numbers as numbers. Returns the columns, and how many bytes (n,) each row takes when it is written plainly.

    A row whose line has that length says exactly what its values say: no other text of that length gives the same values. Rows with
    anything but positive numbers of at most 18 digits have length 0.
    """
    roles = sorted(places, key=lambda role: places[role])
    schema = {role: pl.Int64 if role in numbers else pl.String for role in roles}
    try:
        frame = pl.read_csv(
            block,
            separator=delimiter,
            has_header=False,
            quote_char=None,
            schema=schema,
            ignore_errors=True,
            truncate_ragged_lines=True,
        )
    except pl.exceptions.PolarsError:
        frame = pl.DataFrame(schema=schema)
    length = np.full(frame.height, len(roles), np.int64)
    clean = np.ones(frame.height, bool)
    for role in roles:
        column = frame[role]
        if role in numbers:
            values = column.fill_null(0).to_numpy()
            clean &= (values > 0) & (values < plain.LIMIT)
            length += plain.digits(values)
        else:
            length += column.str.len_bytes().fill_null(0).to_numpy()
            clean &= column.is_not_null().to_numpy()
    length[~clean] = 0
    return frame, length


def _split_with_care(
    block: bytes,
    width: int,
    places: dict[str, int],
    layout: DelimitedText,
    of_line: NDArray[np.int64] | None = None,
) -> Block:
    """Split whole lines, whose numbers are `of_line`; those with another number of fields are rejected, one by one."""
    characters = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(characters == NEWLINE)
    of_line = np.arange(len(ends), dtype=np.int64) if of_line is None else of_line
    separators = np.flatnonzero(characters == ord(layout.delimiter))
    found = np.diff(np.searchsorted(separators, ends), prepend=0)
    plain = found == width - 1
    quoted = np.zeros(len(ends), bool)
    if layout.quote and layout.quote.encode() in block:
        quoted[np.searchsorted(ends, np.flatnonzero(characters == ord(layout.quote)))] = True
        plain &= ~quoted
    if not plain.all():
        lengths = np.diff(ends, prepend=-1)
        text = characters[np.repeat(plain, lengths)].tobytes()
    else:
        text = block
    rows = _columns(text, of_line[plain], places, layout.delimiter)
    bare = ~plain & ~quoted
    rejected = [_rejects(of_line[bare], np.diff(ends, prepend=-1)[bare])]
    if quoted.any():
        more, bad = _quoted_rows(block, ends, np.flatnonzero(quoted), of_line, width, places, layout)
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


def _rejects(numbers: NDArray[np.int64], lengths: NDArray[np.int64]) -> pl.DataFrame:
    reason = np.where(lengths == 1, "empty_line", "wrong_number_of_fields")
    return pl.DataFrame({"line": pl.Series(numbers, dtype=pl.Int64), "reason": pl.Series(reason, dtype=pl.String)})


def _quoted_rows(
    block: bytes,
    ends: NDArray[np.int64],
    index: NDArray[np.int64],
    of_line: NDArray[np.int64],
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
            bad.append((int(of_line[i]), "unclosed_quote" if fields is None else "wrong_number_of_fields"))
            continue
        lines.append(int(of_line[i]))
        for role, place in places.items():
            good[role].append(fields[place].strip())
    rows = pl.DataFrame(
        {
            "line": pl.Series(lines, dtype=pl.Int64),
            **{role: pl.Series(values, dtype=pl.String) for role, values in good.items()},
        }
    )
    return rows, pl.DataFrame(bad, schema={"line": pl.Int64, "reason": pl.String}, orient="row")
