"""Split files into blocks of whole rows. Format and encoding are checked, and that the files do not change during reading."""

import codecs
import errno
import gzip
import io
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from ehr_pipeline.errors import InputError
from ehr_pipeline.records.chunks import CHUNK_BYTES, LINE_LIMIT, Unread, whole_rows
from ehr_pipeline.records.layouts import has_setting, setting
from ehr_pipeline.records.quoting import Quoting
from ehr_pipeline.terminology.reading import FORMATS

HEAD_BYTES = 1 << 16
UTF_8 = ("utf-8", "utf-8-sig", "ascii")  # ASCII is a subset of UTF-8 and is read as UTF-8

# Control characters that occur neither in text nor as delimiters.
NO_TEXT = re.compile("[\x00-\x08\x0e-\x1a]")
# Byte order marks, longest first, and the encodings that they indicate.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def encoding_of_blocks(encoding: str) -> str:
    """Return the encoding of the blocks of a file.

    Single-byte encodings that extend ASCII stay as they are; text in any other is converted to UTF-8."""
    name = codecs.lookup(encoding).name
    if name in UTF_8:
        return "utf-8"
    # Every byte is one character, whatever precedes it (some encodings switch tables), and ASCII is unchanged.
    every = bytes(range(256)) + b"\x1b$B0l~{0l"
    single_byte = len(every.decode(name, errors="replace")) == len(every)
    return name if single_byte and every[:128].decode(name, errors="replace").encode() == every[:128] else "utf-8"


def blocks(
    path: Path,
    encoding: str,
    where: str,
    block_bytes: int,
    advance: Callable[[int], None] = lambda _: None,
    *,
    quoted: Quoting | None = None,
    unended: Callable[[], None] = lambda: None,
    skip: int = 0,
) -> Iterator[bytes | Unread]:
    """Yield blocks of whole rows, each line with its newline, and rows that are too long (see `chunks.whole_rows`).

    Plain and gzip files (also with several members) give the same blocks. The first `skip` lines are left out. `advance` is called
    with the number of bytes that were read from the file; `unended` is called if the last line has no line end. Raises InputError
    for other formats, another encoding, a damaged gzip stream, and a file that cannot be read or that changes while it is read.
    """
    try:
        with path.open("rb") as raw:
            before, position = _state(os.fstat(raw.fileno())), 0
            try:
                stream = LineStream(_stream(path, raw, encoding, where), raw)
                for _ in range(skip):
                    stream.readline(CHUNK_BYTES)
                for block in whole_rows(stream, block_bytes, quoted):
                    yield block
                    advance(raw.tell() - position)
                    position = raw.tell()
                if stream.last not in (b"", b"\n"):
                    unended()
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                _check_unchanged(path, before)
                raise InputError(
                    f"{path}: the gzip stream is damaged or cut off ({error}). None of its content can be trusted: copy it again."
                ) from None
            _check_unchanged(path, before)
            advance(before[0] - position)
    except OSError as error:
        raise InputError(unreadable(path, error)) from None


def unreadable(path: Path, error: OSError) -> str:
    """Return the message for a file that cannot be read."""
    if error.errno == errno.ENOENT:
        return f"{path}: the file has vanished. Wait until the extract is in place, then run again."
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{path}: no permission to read the file. Change its permissions, or run as a user who may read it."
    return f"{path}: the file cannot be read ({error.strerror or error})."


def _state(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_size, stat.st_mtime_ns, stat.st_ino


def _check_unchanged(path: Path, before: tuple[int, int, int]) -> None:
    if _state(path.stat()) != before:
        raise InputError(
            f"{path}: the file changed while it was read. Wait until the extract is complete (copy it under another name,"
            " then rename its folder), then run again."
        )


def _stream(path: Path, raw: BinaryIO, encoding: str, where: str) -> BinaryIO:
    """Return the text of a file, from its beginning, as bytes with newlines at line ends."""
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    stream: BinaryIO = gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[assignment]
    head = stream.read(HEAD_BYTES)
    stream.seek(0)
    _check_format(path, head)
    if not packed:
        _check_name(path, head, encoding)
    _check_mark(path, head, encoding, where)
    is_recoded = encoding_of_blocks(encoding) == "utf-8" and codecs.lookup(encoding).name not in UTF_8
    decoder = codecs.getincrementaldecoder(encoding)(errors="replace") if is_recoded else None
    text = head.decode(encoding, errors="replace").encode() if decoder else head
    only_returns = b"\r" in text and b"\n" not in text  # as old Macs wrote it
    if decoder is None and not only_returns:
        return stream

    def recode(chunk: bytes) -> bytes:
        chunk = decoder.decode(chunk, final=not chunk).encode(errors="replace") if decoder else chunk
        return chunk.replace(b"\r", b"\n") if only_returns else chunk

    return io.BufferedReader(_Recoded(stream, recode), CHUNK_BYTES)  # type: ignore[type-var]


class LineStream:
    """A stream that reads whole lines and remembers the last byte it read. `raw` is the file, unless the text is in memory."""

    def __init__(self, stream: BinaryIO, raw: BinaryIO | None = None):
        self._stream, self._is_raw, self.last = stream, stream is raw, b""

    def readline(self, size: int) -> bytes:
        """Read the rest of a line, at most `size` bytes of it."""
        return self._noted(self._stream.readline(size))

    def read_lines(self, size: int) -> bytes:
        """Read `size` bytes, and the rest of the last line, at most `LINE_LIMIT` + 1 bytes of it."""
        if not self._is_raw:
            block = self._noted(self._stream.read(size))
            return block if not block or block.endswith(b"\n") else block + self.readline(LINE_LIMIT + 1)
        # The end of the last line is looked for first: adding it to the block would copy the block.
        begin = self._stream.tell()
        self._stream.seek(begin + size - 1)
        rest = self._stream.readline(LINE_LIMIT + 2)
        self._stream.seek(begin)
        return self._noted(self._stream.read(size - 1 + len(rest)))

    def _noted(self, text: bytes) -> bytes:
        self.last = text[-1:] or self.last
        return text


class _Recoded(io.RawIOBase):
    """A stream whose chunks are passed through a function; at the end, the function gets an empty chunk."""

    def __init__(self, stream: BinaryIO, recode: Callable[[bytes], bytes]):
        self._stream, self._recode, self._rest = stream, recode, memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        while not self._rest:
            chunk = self._stream.read(CHUNK_BYTES)
            self._rest = memoryview(self._recode(chunk))
            if not chunk:
                break
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _check_format(path: Path, head: bytes) -> None:
    advice = next((text for magic, text in FORMATS.items() if head.startswith(magic)), None)
    if head[257:262] == b"ustar":
        advice = "a tar archive: unpack it"
    if advice:
        raise InputError(f"{path}: not delimited text, but probably {advice}.")


def _check_name(path: Path, head: bytes, encoding: str) -> None:
    """Raise InputError for a binary file named .gz that is not a gzip file. Unpacked text with such a name is accepted."""
    if path.suffix.lower() == ".gz" and NO_TEXT.search(head.decode(encoding, errors="replace")):
        raise InputError(f"{path}: neither a gzip file, though its name ends in .gz, nor text. Copy it again.")


def _check_mark(path: Path, head: bytes, encoding: str, where: str) -> None:
    marked = next((name for mark, name in MARKS.items() if head.startswith(mark)), None)
    name = codecs.lookup(encoding).name
    if marked and not (name in UTF_8 if marked == "utf-8" else name.startswith(marked)):
        raise InputError(
            f"{path}: its byte order mark is that of {marked}, but {_read_as(where, encoding)}."
            + _to_do(
                where, encoding, f"Set it to {marked!r}; files of different encodings need a [[records…]] table each."
            )
        )
    if head and not marked and name in ("utf-16", "utf-32"):
        raise InputError(
            f"{path}: no byte order mark at its beginning, but {_read_as(where, encoding)}."
            + _to_do(where, encoding, f"Set it to '{name}-le' (or '-be').")
        )


def _read_as(where: str, encoding: str) -> str:
    if has_setting(where, "encoding"):
        return f"{setting(where, 'encoding')} is {encoding!r}"
    return f"files of this layout ({where}) are read as {encoding!r}"


def _to_do(where: str, encoding: str, then: str) -> str:
    return f" {then}" if has_setting(where, "encoding") else f" Convert it to {encoding}."
