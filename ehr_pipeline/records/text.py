"""Delimited text in blocks of whole lines, with the line number of every row, in memory that the file's size does not set."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.errors import InputError, unseen
from ehr_pipeline.progress import Progress
from ehr_pipeline.records import header, lines
from ehr_pipeline.records.layouts import DelimitedText
from ehr_pipeline.records.scan import scan

NEWLINE = 10
REPLACEMENT = "\ufffd"  # what an undecodable byte becomes; such ids are rejected, never guessed
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CHANGED_HEADER = "changed_header"  # a header line with other places: what follows it would be misread
# Bytes that no clean line holds, and why their lines are rejected.
ODD = {0: "nul_byte", 13: "stray_carriage_return"}


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
    """The files of one kind, sorted by name.

    Raises InputError when there is none, for a link that leads nowhere, and for a name that cannot be told or written down.
    """
    matching = sorted(folder.glob(layout.files))
    for path in matching:
        if character := unseen(path.name):
            raise InputError(f"{folder}: the name of the file {path.name!r} holds {character}. Rename it.")
        if path.is_symlink() and not path.exists():
            raise InputError(
                f"{path}: the link leads to a file that is not there. Put the file in place, or remove the link."
            )
    paths = [path for path in matching if path.is_file()]
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
    Raises InputError for a missing column, and for a file that is no text, is damaged, or changes meanwhile (`lines.blocks`).
    """
    shape = header.given(path, layout, columns, where)
    encoding = lines.encoding_of_blocks(layout.encoding)
    for block in lines.blocks(path, layout.encoding, where, block_bytes, progress.advance):
        if shape is None:
            first, block = _first(path, block, encoding)
            shape = header.read(path, first, layout, columns, where)
        if block is None:
            yield partial(_too_long, shape)
        elif block:
            yield partial(_split, block, encoding, shape, layout, numbers)
    if shape is None:
        raise InputError(_EMPTY.format(path=path, columns=", ".join(columns.values())))


def first_line(layout: DelimitedText) -> int:
    """The number of the first line of a file that holds a row."""
    return 1 if layout.header else 2


def read_header(path: Path, layout: DelimitedText, columns: Mapping[str, str], where: str) -> None:
    """Read the first line alone, and raise InputError unless the file is such text and the wanted columns are in it."""
    for block in lines.blocks(path, layout.encoding, where, lines.HEAD_BYTES):
        if not header.given(path, layout, columns, where):
            first, _ = _first(path, block, lines.encoding_of_blocks(layout.encoding))
            header.read(path, first, layout, columns, where)
        return
    if not header.given(path, layout, columns, where):
        raise InputError(_EMPTY.format(path=path, columns=", ".join(columns.values())))


_EMPTY = "{path}: the file is empty; a header line with {columns} was expected."


def _first(path: Path, block: bytes | None, encoding: str) -> tuple[str, bytes]:
    """The first line without its end, and the rest of the first block."""
    if block is None:
        raise InputError(
            f"{path}, line 1: no line ends within {lines.LINE_LIMIT:,} bytes, so this is no table of delimited text."
        )
    first, _, rest = block.partition(b"\n")
    return _utf8(first, encoding).decode().rstrip("\r"), rest


def _utf8(block: bytes, encoding: str) -> bytes:
    """Text as UTF-8 without byte order marks and with plain newlines. Undecodable bytes become `REPLACEMENT`."""
    if not block.isascii():
        if encoding != "utf-8":
            block = block.decode(encoding, errors="replace").encode()
        else:
            try:
                block.decode()
            except UnicodeDecodeError:
                block = block.decode(errors="replace").encode()
        if BYTE_ORDER_MARK in block:  # at the beginning of any line: files with marks were joined
            block = re.sub(rb"(?m)^(?:%s)+" % BYTE_ORDER_MARK, b"", block)
    if b"\r" not in block:
        return block
    block = block.replace(b"\r\n", b"\n")
    # Lines that went through a text mode twice end in several returns.
    return re.sub(rb"(?<!\r)\r++\n", b"\n", block) if b"\r" in block else block


def _too_long(shape: header.Shape) -> Block:
    """The block of one line that nobody has read."""
    rows, _ = _nothing(shape.places)
    return Block(rows, _rejects(np.zeros(1, np.int64), "line_too_long"))


def _split(
    raw: bytes,
    encoding: str,
    shape: header.Shape,
    layout: DelimitedText,
    numbers: tuple[str, ...],
) -> Block:
    """Split whole lines into the wanted fields: the plain ones at once, the others with care."""
    block = _utf8(raw, encoding)
    if not numbers:
        return _split_with_care(block, shape, layout)
    found = scan(block, shape.places, shape.width, layout.delimiter, layout.quote, numbers)
    if found.plain.all():
        return Block(*_nothing(shape.places), found.rows)
    rest = np.flatnonzero(~found.plain)
    if 2 * len(rest) > len(found.plain):
        return _split_with_care(block, shape, layout)
    begins = np.where(rest > 0, found.ends[rest - 1], 0).tolist()
    text = b"".join(block[begin:end] for begin, end in zip(begins, found.ends[rest].tolist(), strict=True))
    others = _split_with_care(text, shape, layout, rest)
    return Block(others.rows, others.rejected, found.rows.filter(pl.Series(found.plain)))


def _nothing(places: dict[str, int]) -> tuple[pl.DataFrame, pl.DataFrame]:
    none = np.empty(0, np.int64)
    return _columns(b"", none, places, ""), _rejects(none, "")


def _split_with_care(
    block: bytes, shape: header.Shape, layout: DelimitedText, of_line: NDArray[np.int64] | None = None
) -> Block:
    """Split whole lines, whose numbers are `of_line`; those that are no rows are rejected, one by one."""
    characters = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(characters == NEWLINE)
    of_line = np.arange(len(ends), dtype=np.int64) if of_line is None else of_line

    def holding(character: int) -> NDArray[np.bool_]:
        held = np.zeros(len(ends), bool)
        held[np.searchsorted(ends, np.flatnonzero(characters == character))] = True
        return held

    rejected, usable = [], np.ones(len(ends), bool)
    for mark, reason in ODD.items():
        if mark in block:
            bad = holding(mark) & usable
            rejected.append(_rejects(of_line[bad], reason))
            usable &= ~bad
    separators = np.flatnonzero(characters == ord(layout.delimiter))
    found = np.diff(np.searchsorted(separators, ends), prepend=0)
    quoted = np.zeros(len(ends), bool)
    if layout.quote and layout.quote.encode() in block:
        quoted = holding(ord(layout.quote)) & usable
    plain = (found == shape.width - 1) & usable & ~quoted
    if not plain.all():
        lengths = np.diff(ends, prepend=-1)
        text = characters[np.repeat(plain, lengths)].tobytes()
        bare = usable & ~plain & ~quoted
        rejected.append(_rejects(of_line[bare & (lengths == 1)], "empty_line"))
        rejected.append(_rejects(of_line[bare & (lengths > 1)], "wrong_number_of_fields"))
    else:
        text = block
    rows = _columns(text, of_line[plain], shape.places, layout.delimiter)
    if quoted.any():
        more, bad_quotes = _quoted_rows(block, ends, np.flatnonzero(quoted), of_line, shape, layout)
        rows = pl.concat([rows, more]).sort("line")
        rejected.append(bad_quotes)
    rows, headers = _without_headers(rows, shape)
    return Block(rows, pl.concat([*rejected, headers]))


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


def _rejects(numbers: NDArray[np.int64], reason: str) -> pl.DataFrame:
    return pl.DataFrame({"line": pl.Series(numbers, dtype=pl.Int64)}).with_columns(reason=pl.lit(reason, pl.String))


def _without_headers(rows: pl.DataFrame, shape: header.Shape) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that are none but a header line again, as joined files have them, are told from the others.

    The reason is `CHANGED_HEADER` when the wanted columns stand in other places from there on.
    """
    own = shape.own_names
    suspect = rows[next(iter(own))].is_in([name for name in shape.names if name and not name.isdigit()])
    if not suspect.any():
        return rows, _rejects(np.empty(0, np.int64), "")
    is_header = pl.all_horizontal(pl.col(role).is_in(shape.names) for role in own)
    repeated = pl.all_horizontal(pl.col(role) == name for role, name in own.items())
    found = rows.filter(suspect).filter(is_header)
    reason = pl.when(repeated).then(pl.lit("repeated_header")).otherwise(pl.lit(CHANGED_HEADER))
    return rows.filter(~rows["line"].is_in(found["line"].to_list())), found.select("line", reason=reason)


def _quoted_rows(
    block: bytes,
    ends: NDArray[np.int64],
    index: NDArray[np.int64],
    of_line: NDArray[np.int64],
    shape: header.Shape,
    layout: DelimitedText,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Lines that hold a quote, one at a time. A quoted line break is not supported: both of its lines are rejected."""
    good: dict[str, list[str]] = {role: [] for role in shape.places}
    lines, bad = [], []
    for i in index.tolist():
        start = int(ends[i - 1]) + 1 if i else 0
        fields = header.fields(block[start : int(ends[i])].decode(), layout)
        if fields is None or len(fields) != shape.width:
            bad.append((int(of_line[i]), "unclosed_quote" if fields is None else "wrong_number_of_fields"))
            continue
        lines.append(int(of_line[i]))
        for role, place in shape.places.items():
            good[role].append(fields[place])
    values = [pl.Series(role, texts, pl.String).str.strip_chars() for role, texts in good.items()]
    rows = pl.DataFrame([pl.Series("line", lines, pl.Int64), *values])
    return rows, pl.DataFrame(bad, schema={"line": pl.Int64, "reason": pl.String}, orient="row")
