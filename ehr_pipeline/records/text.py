"""Read delimited text in blocks of whole rows, with the line number of every row; memory does not grow with the file."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import header, lines, quoting
from ehr_pipeline.records.chunks import AFTER_UNCLOSED, LINE_LIMIT, UNCLOSED, Unread
from ehr_pipeline.records.layouts import DelimitedText
from ehr_pipeline.records.quoting import QUOTE, Quoting, Rows, field_in_quotes
from ehr_pipeline.records.scan import scan
from ehr_pipeline.work.progress import Progress

REPLACEMENT = "\ufffd"  # replaces undecodable bytes; ids that contain it are rejected, never guessed
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
CHANGED_HEADER = "changed_header"  # a header line with columns in other positions: rows after it would be misread
# Bytes that no clean row contains, and why rows with them are rejected. A carriage return in quotes is text.
NUL, RETURN = 0, 13
ODD = {NUL: "nul_byte", RETURN: "stray_carriage_return"}


@dataclass(frozen=True)
class Extent:
    """The amount of text read. A line that cannot be split into fields may contain many rows, if line ends were lost."""

    rows: int = 0
    size: int = 0
    """Size of the rows in bytes."""
    lines: int = 0
    """Number of lines that cannot be split into the expected fields, without empty lines and headers."""
    lost: int = 0
    """Size of these lines in bytes."""
    quoted: int = 0
    """Number of these lines with a field in quotes, though the settings have no quoting character."""

    def __add__(self, other: "Extent") -> "Extent":
        return Extent(*(mine + more for mine, more in zip(astuple(self), astuple(other), strict=True)))

    @property
    def like_rows(self) -> int:
        """The number of average rows that would fit into these lines; 0 unless at least two per line."""
        rows = self.lost * self.rows // max(self.size, 1)
        return rows if rows >= 2 * self.lines else 0


@dataclass(frozen=True)
class Block:
    """Some rows of one file."""

    rows: pl.DataFrame
    """`line` (int64: where the row begins, from 0 at the beginning of the block), and a stripped string per wanted
    column; missing values are empty."""
    rejected: pl.DataFrame
    """`line` and `reason` of rejected lines."""
    lines: int
    """Number of lines in the block. A row may have several."""
    plain: pl.DataFrame | None = None
    """More rows, whose numbers are plain: `line`, the numbers as int64, the other columns as written (not stripped)."""
    extent: Extent = Extent()
    """The amount of text in the block; none for Parquet."""

    @property
    def count(self) -> int:
        """Number of rows and rejected lines in the block."""
        return self.rows.height + self.rejected.height + (self.plain.height if self.plain is not None else 0)

    def after(self, lines: int) -> "Block":
        """Return the block with this number added to its lines."""
        if not lines:
            return self
        rows, rejected = (part.with_columns(pl.col("line") + lines) for part in (self.rows, self.rejected))
        plain = self.plain.with_columns(pl.col("line") + lines) if self.plain is not None else None
        return Block(rows, rejected, self.lines + lines, plain, self.extent)


def read(
    path: Path,
    layout: DelimitedText,
    columns: Mapping[str, str],
    where: str,
    *,
    block_bytes: int,
    progress: Progress,
    numbers: tuple[str, ...] = (),
    unended: Callable[[], None] = lambda: None,
) -> Iterator[Callable[[], Block]]:
    """Yield the blocks of a file, each as a function that splits it into rows and may be called on any thread.

    `columns` holds the names of columns in the file, by their names in the settings; `where` is the section of the settings to name
    in messages. Columns in `numbers` mostly hold plain numbers; rows in which all of them do take a faster path (`Block.plain`)
    with the same result. `unended` is called if the last line has no line end, as in a file that was cut off. Raises InputError for
    a missing column, and for a file that is not text, is damaged, or changes while it is read (`lines.blocks`)."""
    shape = header.from_settings(path, layout, columns, where)
    quoted, more = _quoting(layout), layout.lines_before_header
    begin = partial(lines.blocks, path, layout.encoding, where, block_bytes, progress.advance)
    for block in begin(quoted=quoted, unended=unended, skip=more):
        if shape is None:
            first, block = _first(path, block, layout)
            shape = header.read(path, first, layout, columns, where)
            more += first.count("\n")  # lines of the header beyond its first one
        if isinstance(block, Unread):
            yield partial(_unread, block, shape, more)
        elif block:
            yield partial(_split, block, shape, layout, numbers, more)
        more = 0 if block else more
    if shape is None:
        raise InputError(_EMPTY.format(path=path, columns=", ".join(columns.values())))


def first_line(layout: DelimitedText) -> int:
    """Return the number of the first line with a row."""
    return 1 if layout.header else 2


def read_header(path: Path, layout: DelimitedText, columns: Mapping[str, str], where: str) -> None:
    """Raise InputError unless the file is text of this layout with the wanted columns. Reads only the first line."""
    for block in _head(path, layout, where):
        if not header.from_settings(path, layout, columns, where):
            header.read(path, _first(path, block, layout)[0], layout, columns, where)
        return
    if not header.from_settings(path, layout, columns, where):
        raise InputError(_EMPTY.format(path=path, columns=", ".join(columns.values())))


def names(path: Path, layout: DelimitedText) -> list[str]:
    """Return the names of the columns; none for an empty file. Raises InputError for a file that is not text of this layout."""
    block = None if layout.header else next(_head(path, layout, ""), None)
    return header.names(_first(path, block, layout)[0], layout) if block is not None else list(layout.header)


_EMPTY = "{path}: the file is empty; a header line with {columns} was expected."


def _head(path: Path, layout: DelimitedText, where: str) -> Iterator[bytes | Unread]:
    begin = partial(lines.blocks, path, layout.encoding, where, lines.HEAD_BYTES)
    return begin(quoted=_quoting(layout), skip=layout.lines_before_header)


def _quoting(layout: DelimitedText) -> Quoting | None:
    """Return how fields are quoted in the blocks of a file; None if they are not."""
    marks = lines.encoding_of_blocks(layout.encoding) == "utf-8"
    return Quoting(layout.delimiter.encode(), layout.quote.encode(), marks) if layout.quote else None


def _first(path: Path, block: bytes | Unread, layout: DelimitedText) -> tuple[str, bytes]:
    """Return the header without its line end, and the rest of the first block."""
    if isinstance(block, Unread) and block.first != UNCLOSED:
        raise InputError(
            f"{path}, line 1: no line end within {LINE_LIMIT:,} bytes, so this is not a text table. Check that `files` matches only"
            " text tables, and `encoding`."
        )
    encoding, quoted = lines.encoding_of_blocks(layout.encoding), _quoting(layout)
    if not isinstance(block, Unread):
        head = block.find(b"\n") + 1
        if quoted and quoted.quote in block[:head]:
            ends = quoting.ended_rows(block[: LINE_LIMIT + 1], quoted, max_rows=1)[0].ends
            head = int(ends[0]) if len(ends) else 0
        if head:
            first = utf8(block[:head], encoding).decode().removesuffix("\n")
            return first.rstrip("\r"), block[head:]
    raise InputError(
        f"{path}, line 1: a quote ({layout.quote}) opens in the header and does not close. Correct the line, or set quote = '' if"
        " the files do not quote."
    )


def utf8(block: bytes, encoding: str) -> bytes:
    """Return text as UTF-8 without byte order marks and with plain newlines. Undecodable bytes become `REPLACEMENT`."""
    if not block.isascii():
        if encoding != "utf-8":
            block = block.decode(encoding, errors="replace").encode()
        else:
            try:
                block.decode()
            except UnicodeDecodeError:
                block = block.decode(errors="replace").encode()
        if BYTE_ORDER_MARK in block:  # at the beginning of any line, since files with marks may have been joined
            block = re.sub(rb"(?m)^(?:%s)+" % BYTE_ORDER_MARK, b"", block)
    if b"\r" not in block:
        return block
    block = block.replace(b"\r\n", b"\n")
    # Lines that were converted twice in text mode end in several carriage returns.
    return re.sub(rb"(?<!\r)\r++\n", b"\n", block) if b"\r" in block else block


def _unread(unread: Unread, shape: header.Shape, more: int) -> Block:
    """Return a block of rejected lines, for a row that is too long. `more`: lines of the header before it."""
    rows, _ = _empty(shape.places)
    first, others = _rejects(np.zeros(1, np.int64), unread.first), np.arange(1, unread.lines, dtype=np.int64)
    extent = Extent(lines=unread.lines, lost=unread.size)
    return Block(rows, pl.concat([first, _rejects(others, AFTER_UNCLOSED)]), unread.lines, extent=extent).after(more)


def _split(raw: bytes, shape: header.Shape, layout: DelimitedText, numbers: tuple[str, ...], more: int) -> Block:
    """Split whole rows into the wanted fields: plain rows fast, the others with care; `more` as in `_unread`."""
    block = utf8(raw, lines.encoding_of_blocks(layout.encoding))
    if not numbers:
        quoted = _quoting(layout)
        where = quoting.rows(block, quoted) if quoted and quoted.quote in block else Rows.of_lines(block)
        return _split_with_care(block, where, shape, layout).after(more)
    scanned = scan(block, shape, layout, numbers)
    has_quotes = layout.quote != "" and layout.quote.encode() in block
    height = quoting.count_lines(block) if has_quotes else len(scanned.plain)  # else each row is a line
    if scanned.plain.all():
        extent = Extent(scanned.rows.height, len(block))
        return Block(*_empty(shape.places), height, scanned.rows, extent).after(more)
    rest = np.flatnonzero(~scanned.plain)
    if 2 * len(rest) > len(scanned.plain):
        return _split_with_care(block, scanned.where, shape, layout).after(more)
    text, where = scanned.where.chosen(rest, block)
    others = _split_with_care(text, where, shape, layout)
    plain = scanned.rows.filter(pl.Series(scanned.plain))
    extent = others.extent + Extent(plain.height, len(block) - len(text))
    return Block(others.rows, others.rejected, height, plain, extent).after(more)


def _empty(places: dict[str, int]) -> tuple[pl.DataFrame, pl.DataFrame]:
    none = np.empty(0, np.int64)
    return _columns(b"", none, places, ""), _rejects(none, "")


def _split_with_care(block: bytes, where: Rows, shape: header.Shape, layout: DelimitedText) -> Block:
    """Split whole rows, whose ends are in `where`; rows that cannot be split are rejected one by one."""
    characters = np.frombuffer(block, np.uint8)
    lengths = np.diff(where.ends, prepend=0)

    def rows_with(character: int) -> NDArray[np.bool_]:
        flags = np.zeros(len(lengths), bool)
        flags[np.searchsorted(where.ends, np.flatnonzero(characters == character), side="right")] = True
        return flags

    quoted = np.zeros(len(lengths), bool)
    if layout.quote and layout.quote.encode() in block:
        quoted = rows_with(ord(layout.quote))
    rejected, usable = [], np.ones(len(lengths), bool)
    extent = Extent()
    for mark, reason in ODD.items():
        if mark in block:
            bad = rows_with(mark) & usable & ~quoted
            rejected.append(_rejects(where.lines[bad], reason))
            extent += _extent_lost(lengths[bad])
            usable &= ~bad
    quoted &= usable
    separators = np.flatnonzero(characters == ord(layout.delimiter))
    delimiters = np.diff(np.searchsorted(separators, where.ends), prepend=0)
    empty = (delimiters == lengths - 1) & usable & ~quoted  # only delimiters, as left by a spreadsheet below its table
    plain = (delimiters == shape.width - 1) & usable & ~quoted & ~empty
    if not plain.all():
        text = characters[np.repeat(plain, lengths)].tobytes()
        bare = usable & ~plain & ~quoted & ~empty
        rejected.append(_rejects(where.lines[empty], "empty_line"))
        rejected.append(_rejects(where.lines[bare], "wrong_number_of_fields"))
        extent += _extent_lost(lengths[bare])
        extent += Extent(quoted=_in_quotes(characters[np.repeat(bare, lengths)].tobytes(), layout))
    else:
        text = block
    rows = _columns(text, where.lines[plain], shape.places, layout.delimiter)
    if quoted.any():
        more, bad_quotes = _quoted_rows(block, where, np.flatnonzero(quoted), shape, layout)
        rows = pl.concat([rows, more]).sort("line")
        rejected.append(bad_quotes)
        bad = np.isin(where.lines, bad_quotes["line"].to_numpy())
        extent += _extent_lost(lengths[bad & quoted])
    extent += Extent(rows.height, len(block) - extent.lost)
    rows, headers = _without_headers(rows, shape)
    return Block(rows, pl.concat([*rejected, headers]), block.count(b"\n"), extent=extent)


def _in_quotes(text: bytes, layout: DelimitedText) -> int:
    """Return the number of lines with a field in quotes, if the settings have no quoting character."""
    if layout.quote or QUOTE.encode() not in text:
        return 0
    pattern = field_in_quotes(layout.delimiter)
    return sum(bool(pattern.search(line)) for line in text.decode(errors="replace").split("\n"))


def _extent_lost(lengths: NDArray[np.int64]) -> Extent:
    return Extent(lines=len(lengths), lost=int(lengths.sum()))


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
    """Separate repeated header lines, as in joined files, from the other rows.

    The reason is `CHANGED_HEADER` if the wanted columns are in other positions from there on.
    """
    names = shape.file_names
    suspect = rows[next(iter(names))].is_in([name for name in shape.names if name and not name.isdigit()])
    if not suspect.any():
        return rows, _rejects(np.empty(0, np.int64), "")
    is_header = pl.all_horizontal(pl.col(role).is_in(shape.names) for role in names)
    repeated = pl.all_horizontal(pl.col(role) == name for role, name in names.items())
    headers = rows.filter(suspect).filter(is_header)
    reason = pl.when(repeated).then(pl.lit("repeated_header")).otherwise(pl.lit(CHANGED_HEADER))
    return rows.filter(~rows["line"].is_in(headers["line"].to_list())), headers.select("line", reason=reason)


def _quoted_rows(
    block: bytes, where: Rows, index: NDArray[np.int64], shape: header.Shape, layout: DelimitedText
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split rows with a quote, one at a time. If a row's quotes are wrong, each of its lines is rejected, because the quote may
    have swallowed other rows."""
    good: dict[str, list[str]] = {role: [] for role in shape.places}
    lines, bad = [], []
    for i in index.tolist():
        start = int(where.ends[i - 1]) if i else 0
        text, line = block[start : int(where.ends[i])].decode().removesuffix("\n"), int(where.lines[i])
        fields = header.fields(text, layout)
        if fields is None and header.fields(text.replace("\r", ""), layout) is None:
            bad.append((line, UNCLOSED))
            bad.extend((line + number, AFTER_UNCLOSED) for number in range(1, text.count("\n") + 1))
        elif "\0" in text:
            bad.append((line, ODD[NUL]))
        elif fields is None:
            bad.append((line, ODD[RETURN]))
        elif len(fields) != shape.width:
            bad.append((line, "wrong_number_of_fields"))
        else:
            lines.append(line)
            for role, place in shape.places.items():
                good[role].append(fields[place])
    values = [pl.Series(role, texts, pl.String).str.strip_chars() for role, texts in good.items()]
    rows = pl.DataFrame([pl.Series("line", lines, pl.Int64), *values])
    return rows, pl.DataFrame(bad, schema={"line": pl.Int64, "reason": pl.String}, orient="row")
