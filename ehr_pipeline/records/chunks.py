"""Streams to blocks of whole rows. A row is a line, or several where line breaks stand in quotes.

Memory is bounded by the block and `LINE_LIMIT`, not by a line without an end or by quotes that nobody closes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.records import quoting
from ehr_pipeline.records.quoting import Quoting

LINE_LIMIT = 1 << 17
"""Bytes of the longest row, the longest field of Python's csv module. Longer ones are rejected unseen, with all of their lines."""
SHORTEST = 16
"""Bytes of the shortest line that a block is made for. Each line costs some 100 bytes of memory, and one can be a newline alone."""
CHUNK_BYTES = 1 << 20
TOO_LONG, UNCLOSED, AFTER_UNCLOSED = "line_too_long", "unclosed_quote", "after_unclosed_quote"
"""Why lines are rejected: one that is too long; one with a quote that does not close, or closes in the middle of a field; and each
line from there to the end of that row."""


class Readable(Protocol):
    """A stream, as far as it is used here."""

    def read(self, size: int, /) -> bytes: ...  # noqa: D102
    def readline(self, size: int, /) -> bytes: ...  # noqa: D102


@dataclass(frozen=True)
class Unread:
    """Lines of a row that is longer than `LINE_LIMIT`."""

    lines: int
    first: str
    """Why the first of them is rejected; the others are `AFTER_UNCLOSED`."""
    size: int
    """How many bytes of text they are."""


def whole_rows(stream: Readable, block_bytes: int, quoted: Quoting | None = None) -> Iterator[bytes | Unread]:
    """Blocks of about so many bytes, of few rows each; `quoted` says how fields are quoted, where they are.

    Every line of a block ends in a newline, and none of its rows is longer than `LINE_LIMIT`.
    """
    most = max(block_bytes // SHORTEST, 1)
    if quoted:
        rows = _Rows(quoted, most)
        while block := stream.read(block_bytes):
            yield from rows.add(block if block.endswith(b"\n") else block + stream.readline(LINE_LIMIT + 1))
        yield from rows.end()
        return
    for whole in _whole_lines(stream, block_bytes):
        yield from [whole] if isinstance(whole, Unread) else _of_few_lines(whole, most)


def _whole_lines(stream: Readable, block_bytes: int) -> Iterator[bytes | Unread]:
    while block := stream.read(block_bytes):
        if not block.endswith(b"\n"):
            block += stream.readline(LINE_LIMIT + 1)
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


def _of_few_lines(block: bytes, most: int) -> Iterator[bytes]:
    """A block, or parts of it of about `most` lines each."""
    if quoting.count_lines(block) <= most:
        yield block
        return
    begin = 0
    while begin < len(block):  # no more bytes than most lines have at the least, so no more lines
        end = block.find(b"\n", min(begin + most, len(block)) - 1) + 1 or len(block)
        yield block[begin:end]
        begin = end


def _long_line(block: bytes, begin: int) -> int | None:
    """Where the first line from `begin` on starts that is too long. Looks at one newline for each `LINE_LIMIT` bytes."""
    while len(block) - begin > LINE_LIMIT:
        end = block.rfind(b"\n", begin, begin + LINE_LIMIT + 1)
        if end < 0:
            return begin
        begin = end + 1
    return None


class _Rows:
    """Rows of quoted text, and the beginning of the one that has not ended yet. Text without any quote is not looked at closely."""

    def __init__(self, quoted: Quoting, most: int):
        self._quoted, self._most = quoted, most
        self._rest = b""
        self._state, self._is_long = (
            quoting.ROW,
            False,
        )  # where the row is too long, its text is dropped and its state kept
        self._is_reported, self._is_cut = (
            False,
            False,
        )  # whether its first line is, and whether the last one has not ended
        self._size = 0  # bytes of its text that are not reported yet

    def add(self, more: bytes) -> Iterator[bytes | Unread]:
        """What ends in `more`."""
        is_plain = self._quoted.quote not in more and more.endswith(b"\n") and _long_line(more, 0) is None
        if is_plain and not self._rest and not self._is_long:
            yield from _of_few_lines(more, self._most)
            return
        block, self._rest, is_full = self._rest + more, b"", True
        while is_full:
            state = self._state if self._is_long else quoting.ROW
            rows, self._state = quoting.ended(block, self._quoted, state, self._most)
            yield from self._ended(block, rows.ends)
            is_full = len(rows.ends) == self._most
            if len(rows.ends):
                block = block[int(rows.ends[-1]) :]
        if self._is_long or len(block) > LINE_LIMIT:
            yield from self._dropped(block, has_ended=False)
        else:
            self._rest = block

    def end(self) -> Iterator[bytes | Unread]:
        """What is left at the end of the stream."""
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
        """The lines of a row that is too long which end in `text`."""
        count = text.count(b"\n")
        first = TOO_LONG if has_ended and count == 1 else UNCLOSED
        first = AFTER_UNCLOSED if self._is_reported else first
        self._is_long, self._is_reported = not has_ended, not has_ended and (self._is_reported or count > 0)
        self._is_cut = not text.endswith(b"\n") if text else self._is_cut
        self._size += len(text)
        while count:
            yield Unread(min(count, self._most), first, self._size)  # all of it with the first lines of the text
            count, first, self._size = count - min(count, self._most), AFTER_UNCLOSED, 0
