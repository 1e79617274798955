"""Find the ends of rows in quoted text: a line break inside quotes belongs to its field (RFC 4180, section 2).

A quote opens a field only at its beginning, and two quotes inside mean one. Text after a closing quote is an error, but the row
ends with its line. These are the rules of Python's csv module, which splits each row with a quote.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.tables.compiled_loops import compiled

ROW, FIELD, PLAIN, OPEN, CLOSED = 0, 1, 2, 3, 4
"""State before a byte: at the beginning of a row or of a field, in a field without quotes, in open quotes, after a
quote in them."""
NEWLINE = 10
QUOTE = '"'
"""The usual quoting character."""
BYTES_AT_ONCE = 1 << 16
"""Newlines are counted in this many bytes at a time."""


def count_lines(block: bytes) -> int:
    """Count newlines. If lines are short, this is faster than `bytes.count`, which starts a new search for each newline."""
    characters = np.frombuffer(block, np.uint8)
    parts = (
        characters[begin : begin + BYTES_AT_ONCE] for begin in range(0, len(block), BYTES_AT_ONCE)
    )  # each fits in a cache
    return sum(int(np.count_nonzero(part == NEWLINE)) for part in parts)


def field_in_quotes(delimiter: str) -> re.Pattern[str]:
    """Return a regular expression for lines in which a field begins and ends with a quote."""
    mark = re.escape(delimiter)
    return re.compile(f"(?:^|{mark}){QUOTE}(?:[^{QUOTE}]|{QUOTE}{QUOTE})*{QUOTE}\\s*(?:$|{mark})")


@dataclass(frozen=True)
class Quoting:
    """The delimiter and the quoting character, each a single byte of the text."""

    delimiter: bytes
    quote: bytes
    marks: bool = True
    """Whether byte order marks at the beginning of rows are skipped, as in UTF-8."""


@dataclass(frozen=True)
class Rows:
    """n rows of a text."""

    ends: NDArray[np.int64]
    """Where each row (n,) ends, including its newline."""
    lines: NDArray[np.int64]
    """The line (n,) in which each row begins, counted from 0 at the beginning of the text."""

    @staticmethod
    def of_lines(block: bytes) -> "Rows":
        """Return the rows of whole lines without quotes."""
        ends = np.flatnonzero(np.frombuffer(block, np.uint8) == NEWLINE) + 1
        return Rows(ends, np.arange(len(ends), dtype=np.int64))

    def chosen(self, rows: NDArray[np.int64], block: bytes) -> "tuple[bytes, Rows]":
        """Return the text of the rows at these indices, and the end of each in that text."""
        begins = np.where(rows > 0, self.ends[rows - 1], 0)
        ends = self.ends[rows]
        text = b"".join(block[begin:end] for begin, end in zip(begins.tolist(), ends.tolist(), strict=True))
        return text, Rows(np.cumsum(ends - begins), self.lines[rows])


def rows(block: bytes, quoting: Quoting) -> Rows:
    """Return the rows of a text that begins with a row. A last row with open quotes ends with the text."""
    whole, _ = ended_rows(block, quoting)
    last = int(whole.ends[-1]) if len(whole.ends) else 0
    if last == len(block):
        return whole
    line = block.count(b"\n", 0, last)
    return Rows(np.append(whole.ends, len(block)), np.append(whole.lines, line))


def ended_rows(block: bytes, quoting: Quoting, state: int = ROW, max_rows: int | None = None) -> tuple[Rows, int]:
    """Return the rows that end in a text, at most the first `max_rows`, and the state after the last byte read.

    `state` is the state before the text.
    """
    size = block.count(b"\n")
    size = size if max_rows is None else min(size, max_rows)
    ends, lines = np.empty(size, np.int64), np.empty(size, np.int64)
    signs = np.uint8(quoting.delimiter[0]), np.uint8(quoting.quote[0])
    last = np.array([state])
    count = _find(np.frombuffer(block, np.uint8), *signs, quoting.marks, last, ends, lines)
    return Rows(ends[:count], lines[:count]), int(last[0])


@compiled
def _find(
    block: NDArray[np.uint8],
    delimiter: np.uint8,
    quote: np.uint8,
    marks: bool,
    last: NDArray[np.int64],
    ends: NDArray[np.int64],
    lines: NDArray[np.int64],
) -> int:
    """Fill `ends` and `lines` until they are full or the text ends; `last` (1,) is the state. Returns the number of rows."""
    count, line, first, at, state = 0, 0, 0, 0, last[0]
    while at < len(block):
        byte = block[at]
        at += 1
        if state == OPEN:
            if byte == quote:
                state = CLOSED
            elif byte == NEWLINE:
                line += 1
        elif byte == NEWLINE:
            line += 1
            ends[count], lines[count] = at, first
            count, first, state = count + 1, line, ROW
            if count == len(ends):
                break
        elif byte == quote and state != PLAIN:
            state = OPEN
        elif byte == delimiter:
            state = FIELD
        elif not (
            marks
            and (state == ROW and byte == 0xEF and at + 1 < len(block))
            and (block[at] == 0xBB and block[at + 1] == 0xBF)
        ):
            state = PLAIN
        else:
            at += 2
    last[0] = state
    return count
