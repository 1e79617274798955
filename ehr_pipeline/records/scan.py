"""Turn plain rows of delimited text into numbers and short texts, in one pass over the bytes; others are left to `text`.

A row is plain if it has as many fields as the header, no quote and no control character, and if its wanted fields have
a canonical form: numbers without sign, blank or leading zero, of at most 18 digits, and texts of at most 12 bytes.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.records import quoting
from ehr_pipeline.records.header import Shape
from ehr_pipeline.records.layouts import DelimitedText
from ehr_pipeline.records.quoting import Quoting, Rows
from ehr_pipeline.tables.jit import compiled

SKIPPED, NUMBER, TEXT = 0, 1, 2
MOST_DIGITS, LONGEST = 18, 12
"""Limits of a number (below 10**18), and of a text (which Arrow's string view holds in place)."""
NEWLINE, LAST_CONTROL, ZERO = 10, 31, 48


@dataclass(frozen=True)
class Scanned:
    """The result of scanning n rows."""

    rows: pl.DataFrame
    """`line`, numbers as int64, texts as written; values in rows that are not plain are meaningless."""
    plain: NDArray[np.bool_]
    """Which rows (n,) are plain."""
    where: Rows
    """Where the rows are in the text."""


def scan(block: bytes, shape: Shape, layout: DelimitedText, numbers: tuple[str, ...]) -> Scanned:
    """Scan whole rows of UTF-8 that end in newlines; `shape` gives their number of fields and the wanted places."""
    places, width, quote = shape.places, shape.width, layout.quote.encode()
    kinds, slots = np.full(width, SKIPPED, np.uint8), np.zeros(width, np.int64)
    texts = [role for role in places if role not in numbers]
    for kind, roles in ((NUMBER, numbers), (TEXT, texts)):
        for slot, role in enumerate(roles):
            kinds[places[role]], slots[places[role]] = kind, slot
    if known := quote != b"" and quote in block:
        rows = quoting.rows(block, Quoting(layout.delimiter.encode(), quote))
        count = len(rows.ends)
    else:
        count = quoting.count_lines(block)
        rows = Rows(np.empty(count, np.int64), np.arange(count, dtype=np.int64))
    values, views = np.empty((len(numbers), count), np.int64), np.zeros((len(texts), count, 2), np.uint64)
    plain = np.empty(count, np.bool_)
    signs = np.uint8(ord(layout.delimiter)), np.uint8(quote[0] if quote else NEWLINE)
    _scan(np.frombuffer(block, np.uint8), *signs, kinds, slots, values, views, rows.ends, known, plain)
    columns = {"line": pl.Series(rows.lines)}
    columns |= {role: pl.Series(values[slot]) for slot, role in enumerate(numbers)}
    columns |= {role: _texts(views[slot]) for slot, role in enumerate(texts)}
    return Scanned(pl.DataFrame(columns), plain, rows)


def _texts(views: NDArray[np.uint64]) -> pl.Series:
    """Return string views (n, 2) as a column."""
    column = pa.Array.from_buffers(pa.string_view(), len(views), [None, pa.py_buffer(views)])
    return pl.Series(pl.from_arrow(column))


@compiled
def _scan(
    block: NDArray[np.uint8],
    delimiter: np.uint8,
    quote: np.uint8,
    kinds: NDArray[np.uint8],
    slots: NDArray[np.int64],
    values: NDArray[np.int64],
    views: NDArray[np.uint64],
    ends: NDArray[np.int64],
    known: bool,
    plain: NDArray[np.bool_],
) -> None:
    """Fill `values`, `views` (zero at first), `ends` and `plain`. `ends` is `known` where rows may have several lines."""
    width, at = len(kinds), 0
    for row in range(len(ends)):
        good = True
        for column in range(width):
            begin, kind = at, kinds[column]
            stop = delimiter if column + 1 < width else np.uint8(NEWLINE)
            byte = block[at]
            if kind == NUMBER:
                value = np.int64(0)
                while np.uint8(byte - np.uint8(ZERO)) < 10:
                    value = value * 10 + np.int64(np.uint8(byte - np.uint8(ZERO)))
                    at += 1
                    byte = block[at]
                good = 0 < at - begin <= MOST_DIGITS and block[begin] != ZERO
                values[slots[column], row] = value
            else:
                low, high = np.uint64(0), np.uint64(0)
                while byte != delimiter and byte != quote and byte > LAST_CONTROL:
                    if kind == TEXT:
                        place = at - begin
                        if place < 4:
                            low |= np.uint64(byte) << np.uint64(32 + 8 * place)
                        elif place < LONGEST:
                            high |= np.uint64(byte) << np.uint64(8 * (place - 4))
                    at += 1
                    byte = block[at]
                if kind == TEXT:
                    good = at - begin <= LONGEST
                    if good:
                        views[slots[column], row, 0] = low | np.uint64(at - begin)
                        views[slots[column], row, 1] = high
            if byte != stop or not good:
                good = False
                break
            at += 1
        if not good and known:
            at = ends[row]
        elif not good:
            while block[at] != NEWLINE:
                at += 1
            at += 1
        ends[row], plain[row] = at, good
