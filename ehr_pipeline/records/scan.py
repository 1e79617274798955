"""Parse plain rows of delimited text into numbers and short texts, in one pass over the bytes; `text` parses the others.

A row is plain if it has as many fields as the header, no quote and no control character, and if its wanted fields have
a canonical form: numbers without sign, blank or leading zero, of at most 18 digits, and texts of at most 12 bytes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.records import quoting
from ehr_pipeline.records.header import Shape
from ehr_pipeline.records.layouts import DelimitedText
from ehr_pipeline.records.quoting import Quoting, Rows
from ehr_pipeline.tables.compiled_loops import compiled, part

SKIPPED, NUMBER, TEXT = 0, 1, 2
MAX_DIGITS, MAX_TEXT = 18, 12
"""Limits of a number (below 10**18), and of a text (which Arrow's string view holds in place)."""
NEWLINE, LAST_CONTROL, ZERO = 10, 31, 48
ONES = np.uint64(0x0101010101010101)
"""A word of eight bytes that are all 1. The next four words repeat another byte in the same way."""
HIGHEST, BLANKS, ZEROS, NO_DIGIT = (
    ONES << np.uint64(7),
    ONES * np.uint64(32),
    ONES * np.uint64(ZERO),
    ONES * np.uint64(128 - 10),
)
PAIRS, FOURS = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF)
SAMPLE = 1 << 16
"""Lines are counted in this many bytes of a block, to estimate their number."""
REACH = 40
"""Maximum number of bytes read from the beginning of a field, eight at a time."""
POWERS = np.array([10**digits for digits in range(9)], np.uint64)


@dataclass(frozen=True)
class ScannedRows:
    """The result of scanning n rows."""

    rows: pl.DataFrame
    """`line`, numbers as int64, texts as written; meaningless in rows that are not plain."""
    plain: NDArray[np.bool_]
    """Which rows (n,) are plain."""
    where: Rows
    """Where the rows are in the text."""


def scan(block: bytes, shape: Shape, layout: DelimitedText, numbers: tuple[str, ...]) -> ScannedRows:
    """Scan whole rows of UTF-8 that end in newlines. `shape` has the number of fields and the positions of the wanted ones."""
    places, width, quote = shape.places, shape.width, layout.quote.encode()
    kinds, slots = np.full(width, SKIPPED, np.uint8), np.zeros(width, np.int64)
    texts = [role for role in places if role not in numbers]
    for kind, roles in ((NUMBER, numbers), (TEXT, texts)):
        for slot, role in enumerate(roles):
            kinds[places[role]], slots[places[role]] = kind, slot
    kinds_and_slots, signs = (kinds, slots), (np.uint8(ord(layout.delimiter)), np.uint8(quote[0] if quote else NEWLINE))
    text = np.frombuffer(block, np.uint8)
    rows = quoting.rows(block, Quoting(layout.delimiter.encode(), quote)) if quote and quote in block else None
    room, count, done = len(rows.ends) if rows else _estimate_lines(block), 0, False
    while not done:
        ends = rows.ends if rows else np.empty(room, np.int64)
        values, views = np.empty((len(numbers), room), np.int64), np.zeros((len(texts), room, 2), np.uint64)
        plain = np.empty(room, np.bool_)
        count = _scan(text, *signs, *kinds_and_slots, values, views, ends, rows is not None, plain)
        done = rows is not None or not block or (count > 0 and int(ends[count - 1]) == len(block))
        room = room if done else quoting.count_lines(block)
    where = rows or Rows(ends[:count], np.arange(count, dtype=np.int64))
    columns = {"line": pl.Series(where.lines)}
    columns |= {role: pl.Series(values[slot, :count]) for slot, role in enumerate(numbers)}
    columns |= {role: _texts(views[slot, :count]) for slot, role in enumerate(texts)}
    return ScannedRows(pl.DataFrame(columns), plain[:count], where)


def _estimate_lines(block: bytes) -> int:
    """Estimate the number of lines of a block from its beginning, plus a margin. May be too low; counting would take longer."""
    if len(block) <= SAMPLE:
        return quoting.count_lines(block)
    return int(1.1 * quoting.count_lines(block[:SAMPLE]) * len(block) / SAMPLE) + SAMPLE // 100


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
) -> int:
    """Fill `values`, `views` (zero at first), `ends` and `plain` until they are full. Returns the number of rows.

    If rows may have several lines, `ends` is already filled in (`known`). Words of eight bytes are read at once; near the end of
    the block, bytes are taken one by one.
    """
    width, at, row, safe = len(kinds), 0, 0, len(block) - REACH
    delimiters, quotes = ONES * np.uint64(delimiter), ONES * np.uint64(quote)
    while row < len(ends) and at < len(block):
        good = True
        for column in range(width):
            begin, kind, slot = at, kinds[column], slots[column]
            stop = delimiter if column + 1 < width else np.uint8(NEWLINE)
            if kind == NUMBER:
                value, at = _number(block, at, safe)
                values[slot, row] = value
                good = 0 < at - begin <= MAX_DIGITS and block[begin] != ZERO
            else:
                low, high = np.uint64(0), np.uint64(0)
                if at <= safe:
                    low, high, at = _text(block, at, delimiters, quotes)
                # Texts longer than two words, and those near the end of the block, byte by byte.
                while block[at] != delimiter and block[at] != quote and block[at] > LAST_CONTROL:
                    place = at - begin
                    if place < 4:
                        low |= np.uint64(block[at]) << np.uint64(32 + 8 * place)
                    elif place < MAX_TEXT:
                        high |= np.uint64(block[at]) << np.uint64(8 * (place - 4))
                    at += 1
                if kind == TEXT:
                    good = at - begin <= MAX_TEXT
                    if good:
                        views[slot, row, 0], views[slot, row, 1] = low | np.uint64(at - begin), high
            if block[at] != stop or not good:
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
        row += 1
    return row


@part
def _number(block: NDArray[np.uint8], at: Any, safe: Any) -> tuple[Any, Any]:
    """Read digits from `at` on. Returns their number (meaningless beyond 18 digits), and where they end."""
    begin, value, digits = at, np.uint64(0), np.uint64(8)
    while digits == 8 and at <= safe and at - begin <= MAX_DIGITS:
        word = _word(block, at) ^ ZEROS  # digits become their values; all other bytes are 10 or more
        digits = _before((word + NO_DIGIT) | word)
        if digits:  # pairs, fours and eights of digits are put together at once
            word <<= np.uint64(64) - (digits << np.uint64(3))
            word = (word * np.uint64(10 * 2**8 + 1)) >> np.uint64(8)
            word = ((word & PAIRS) * np.uint64(100 * 2**16 + 1)) >> np.uint64(16)
            word = ((word & FOURS) * np.uint64(10_000 * 2**32 + 1)) >> np.uint64(32)
            value = value * POWERS[digits] + word
            at += np.int64(digits)
    while at > safe and np.uint8(block[at] - np.uint8(ZERO)) < 10:
        value = value * np.uint64(10) + np.uint64(np.uint8(block[at] - np.uint8(ZERO)))
        at += 1
    return np.int64(value), at


@part
def _text(block: NDArray[np.uint8], at: Any, delimiters: Any, quotes: Any) -> tuple[Any, Any, Any]:
    """Read up to 16 bytes from `at` on, until a delimiter, a quote or a control character. Returns the two words of a string
    view, without the length and with at most 12 bytes of the text, and where the text ends."""
    first = _word(block, at)
    taken = _before(_ends(first, delimiters, quotes))
    second = np.uint64(0)
    if taken == 8:
        second = _word(block, at + 8)
        more = _before(_ends(second, delimiters, quotes))
        taken += more
        if more < 8:
            second &= ~(~np.uint64(0) << (more << np.uint64(3)))
    else:
        first &= ~(~np.uint64(0) << (taken << np.uint64(3)))
    return first << np.uint64(32), (first >> np.uint64(32)) | (second << np.uint64(32)), at + np.int64(taken)


@part
def _word(block: NDArray[np.uint8], at: Any) -> Any:
    """Return the eight bytes from `at` on, the first as the lowest. LLVM reads them at once."""
    place = np.uint64(at)
    word = np.uint64(block[place])
    word |= np.uint64(block[place + np.uint64(1)]) << np.uint64(8)
    word |= np.uint64(block[place + np.uint64(2)]) << np.uint64(16)
    word |= np.uint64(block[place + np.uint64(3)]) << np.uint64(24)
    word |= np.uint64(block[place + np.uint64(4)]) << np.uint64(32)
    word |= np.uint64(block[place + np.uint64(5)]) << np.uint64(40)
    word |= np.uint64(block[place + np.uint64(6)]) << np.uint64(48)
    word |= np.uint64(block[place + np.uint64(7)]) << np.uint64(56)
    return word


@part
def _ends(word: Any, delimiters: Any, quotes: Any) -> Any:
    """Mark the bytes of a word that end a text, by their highest bit; only the lowest mark is reliable (Hacker's Delight, 6-1)."""
    other, quote = word ^ delimiters, word ^ quotes
    return ((other - ONES) & ~other) | ((quote - ONES) & ~quote) | ((word - BLANKS) & ~word)


@part
def _before(marks: Any) -> Any:
    """Return how many bytes lie before the lowest byte whose highest bit is set; 8 if there is none."""
    marks &= HIGHEST
    if not marks:
        return np.uint64(8)
    lowest = marks & (~marks + np.uint64(1))
    return ((((lowest - np.uint64(1)) & ONES) * ONES) >> np.uint64(56)) - np.uint64(1)
