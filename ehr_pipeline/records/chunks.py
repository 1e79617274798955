"""Split streams into blocks of whole rows. A row is one line, or several if it has line breaks inside quotes.

Memory is bounded by the block size and `LINE_LIMIT`, even if a line never ends or a quote is never closed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.records import quoting
from ehr_pipeline.records.quoting import Quoting

LINE_LIMIT = 1 << 17
"""Maximum bytes of a row: the limit for a field in Python's csv module. Longer rows are rejected unread, with all their lines."""
MIN_LINE = 16
"""Minimum mean bytes per line of a block: with shorter lines, it is split. A line takes about 100 bytes of memory, and can be just
a newline."""
CHUNK_BYTES = 1 << 20
TOO_LONG, UNCLOSED, AFTER_UNCLOSED = "line_too_long", "unclosed_quote", "after_unclosed_quote"
"""Reasons for rejecting a line: it is too long; it has a quote that does not close, or closes in the middle of a field; it follows
such a line in the same row."""


class Readable(Protocol):
    """The part of a stream's interface that is used here."""

    def readline(self, size: int, /) -> bytes: ...  # noqa: D102
    def read_lines(self, size: int, /) -> bytes: ...  # noqa: D102


@dataclass(frozen=True)
class Unread:
    """Lines of a row that was not read because it is longer than `LINE_LIMIT`."""

    lines: int
    first: str
    """The reason for the first line; for the others it is `AFTER_UNCLOSED`."""
    size: int
    """Size of these lines in bytes."""


def whole_rows(stream: Readable, block_bytes: int, quoted: Quoting | None = None) -> Iterator[bytes | Unread]:
    """Yield blocks of about `block_bytes` with a limited number of rows, and rows that are too long as `Unread`.

    Every line of a block ends in a newline, and no row is longer than `LINE_LIMIT`. `quoted` is given if fields may be quoted.
    """
    max_rows = max(block_bytes // MIN_LINE, 1)
    if quoted:
        rows = _Rows(quoted, max_rows)
        while block := stream.read_lines(block_bytes):
            yield from rows.add(block)
        yield from rows.end()
        return
    for whole in _whole_lines(stream, block_bytes):
        yield from [whole] if isinstance(whole, Unread) else _split_lines(whole, max_rows)


def _whole_lines(stream: Readable, block_bytes: int) -> Iterator[bytes | Unread]:
    while block := stream.read_lines(block_bytes):
        begin = 0
        while (long := _long_line(block, begin)) is not None:
            if long > begin:
                yield block[begin:long]
            begin = block.find(b"\n", long + LINE_LIMIT) + 1
            size = (begin or len(block)) - long
            if not begin:
                more = b""
                while not more.endswith(b"\n") and (more := stream.readline(CHUNK_BYTES)):
                    size += len(more)
                begin = len(block)
            yield Unread(1, TOO_LONG, size)
        if begin:
            block = block[begin:]
        if block:
            yield block if block.endswith(b"\n") else block + b"\n"


def _split_lines(block: bytes, max_lines: int) -> Iterator[bytes]:
    """Yield the block, or parts of it with about `max_lines` lines each."""
    if quoting.count_lines(block) <= max_lines:
        yield block
        return
    begin = 0
    while begin < len(block):  # about `most` bytes, and so at most about `most` lines
        end = block.find(b"\n", min(begin + max_lines, len(block)) - 1) + 1 or len(block)
        yield block[begin:end]
        begin = end


def _long_line(block: bytes, begin: int) -> int | None:
    """Return where the first too long line at or after `begin` starts. Looks at one newline per `LINE_LIMIT` bytes."""
    while len(block) - begin > LINE_LIMIT:
        end = block.rfind(b"\n", begin, begin + LINE_LIMIT + 1)
        if end < 0:
            return begin
        begin = end + 1
    return None


class _Rows:
    """Rows of quoted text, and the beginning of a row that has not ended yet. Text without any quote takes a fast path."""

    def __init__(self, quoted: Quoting, most: int):
        self._quoted, self._most = quoted, most
        self._rest = b""
        self._state, self._is_long = (
            quoting.ROW,
            False,
        )  # of a row that is too long, the text is dropped and only the state kept
        self._is_reported, self._is_cut = (
            False,
            False,
        )  # whether the first line of that row was reported, and whether its last line is incomplete
        self._size = 0  # bytes of that row that are not reported yet

    def add(self, more: bytes) -> Iterator[bytes | Unread]:
        """Yield the rows that end in `more`."""
        is_plain = self._quoted.quote not in more and more.endswith(b"\n") and _long_line(more, 0) is None
        if is_plain and not self._rest and not self._is_long:
            yield from _split_lines(more, self._most)
            return
        block, self._rest, is_full = self._rest + more, b"", True
        while is_full:
            state = self._state if self._is_long else quoting.ROW
            rows, self._state = quoting.ended_rows(block, self._quoted, state, self._most)
            yield from self._ended(block, rows.ends)
            is_full = len(rows.ends) == self._most
            if len(rows.ends):
                block = block[int(rows.ends[-1]) :]
        if self._is_long or len(block) > LINE_LIMIT:
            yield from self._dropped(block, has_ended=False)
        else:
            self._rest = block

    def end(self) -> Iterator[bytes | Unread]:
        """Yield the remaining rows at the end of the stream."""
        if self._rest:
            yield self._rest if self._rest.endswith(b"\n") else self._rest + b"\n"
        if self._is_long and self._is_cut:
            first = UNCLOSED if self._state == quoting.OPEN else TOO_LONG
            yield Unread(1, AFTER_UNCLOSED if self._is_reported else first, self._size)

    def _ended(self, block: bytes, ends: NDArray[np.int64]) -> Iterator[bytes | Unread]:
        is_long = np.diff(ends, prepend=0) > LINE_LIMIT + 1
        is_long[:1] |= self._is_long
        begin = 0
        for row in np.flatnonzero(is_long).tolist():
            good = int(ends[row - 1]) if row else 0
            if good > begin:
                yield block[begin:good]
            begin = int(ends[row])
            yield from self._dropped(block[good:begin], has_ended=True)
        if len(ends) and ends[-1] > begin:
            yield block[begin : int(ends[-1])]

    def _dropped(self, text: bytes, has_ended: bool) -> Iterator[Unread]:
        """Report the lines that end in `text`, which belongs to a row that is too long."""
        count = text.count(b"\n")
        first = TOO_LONG if has_ended and count == 1 else UNCLOSED
        first = AFTER_UNCLOSED if self._is_reported else first
        self._is_long, self._is_reported = not has_ended, not has_ended and (self._is_reported or count > 0)
        self._is_cut = not text.endswith(b"\n") if text else self._is_cut
        self._size += len(text)
        while count:
            yield Unread(min(count, self._most), first, self._size)  # the first lines report the size of all
            count, first, self._size = count - min(count, self._most), AFTER_UNCLOSED, 0
