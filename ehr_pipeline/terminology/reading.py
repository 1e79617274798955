"""What all readers of terminology files share: messages with the file and its setting, and checks for damaged files."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from ehr_pipeline.errors import InputError

HEAD_BYTES, TAIL_BYTES, AT_ONCE = 8 << 20, 1 << 20, 1 << 20
GZIP = b"\x1f\x8b"
MAX_NAMES = 10
"""How many names of files a message lists."""
# First bytes of formats that are delivered in place of text, and what to do.
FORMATS = {
    b"PK\x03\x04": "a zip archive or an Excel workbook: unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an old Excel or Word document: save the sheet as CSV",
    b"PAR1\x15": "a Parquet file: write it as delimited text",
    b"ARROW1\0\0": "an Arrow file: write it as delimited text",
    b"FEA1": "a Feather file: write it as delimited text",
    b"\x28\xb5\x2f\xfd": "compressed with zstd: unpack it, or compress it with gzip",
    b"\xfd7zXZ\0": "compressed with xz: unpack it, or compress it with gzip",
    b"BZh91AY&SY": "compressed with bzip2: unpack it, or compress it with gzip",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive: unpack it",
    b"SQLite format 3\0": "an SQLite database: write its tables as delimited text",
    b"%PDF-": "a PDF document: ask for the data as delimited text",
}


def open_binary(path: Path) -> BinaryIO:
    """Open a file in binary mode, unpacked if it is gzip. Use it as a context manager."""
    with path.open("rb") as raw:
        packed = raw.read(len(GZIP)) == GZIP
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def refuse_other_formats(path: Path, where: str) -> None:
    """Raise InputError if a file is an archive or a document instead of text."""
    with path.open("rb") as raw:
        head = raw.read(16)
    if advice := next((name for magic, name in FORMATS.items() if head.startswith(magic)), None):
        raise InputError(f"{label(path, where)}: not a text file, but probably {advice}.")


def unended_line(path: Path) -> bytes:
    """Return the last line of a text file if it lacks a line end; otherwise an empty string.

    Always empty for a gzip file, which would fail to unpack if it were cut off.
    """
    with path.open("rb") as raw:
        if raw.read(len(GZIP)) == GZIP:
            return b""
        raw.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return raw.read().rpartition(b"\n")[2]


def refuse_cut(path: Path, where: str, separator: bytes, count: int, *, ends_only: bool = False) -> None:
    """Raise InputError if a line of a text file does not have `count` separators. The message gives the line.

    Empty lines are ignored. With `ends_only`, only the beginning and the end of a large file are read.
    """
    state = path.stat()
    with reading(path, where):
        try:
            wrong = _wrong_line(path, (state.st_size, state.st_mtime_ns), separator, count, ends_only)
        except (EOFError, zlib.error) as error:
            raise InputError(_damaged(path, where, error)) from None
    if wrong:
        line, count_found = wrong
        place = f"line {line:,}" if line else "one of its last lines"
        raise InputError(
            f"{label(path, where)}, {place}: {count_found} fields end in {separator.decode()!r}, not {count}. The file is cut off"
            " or damaged: copy it again."
        )


@lru_cache(maxsize=64)
def _wrong_line(
    path: Path, state: tuple[int, int], separator: bytes, count: int, ends_only: bool
) -> tuple[int, int] | None:
    """Return the first line without exactly `count` separators, and how many it has. `state` makes the cache miss if the file has
    changed."""
    with open_binary(path) as stream:
        is_gzip, line, rest, size = isinstance(stream, gzip.GzipFile), 1, b"", 0
        while chunk := stream.read(AT_ONCE):  # a chunk needs about ten times its size in memory
            text, size = rest + chunk, size + len(chunk)
            end = text.rfind(b"\n") + 1
            if wrong := _first_wrong(text[:end], separator, count):
                return line + wrong[0], wrong[1]
            line, rest = line + text.count(b"\n", 0, end), text[end:]
            if ends_only and size >= HEAD_BYTES and (is_gzip or state[0] > stream.tell() + TAIL_BYTES):
                if is_gzip:
                    return None
                stream.seek(state[0] - TAIL_BYTES)
                tail = stream.read().partition(b"\n")[2]
                wrong = _first_wrong(tail if tail.endswith(b"\n") else tail + b"\n", separator, count)
                return (0, wrong[1]) if wrong else None
        wrong = _first_wrong(rest + b"\n", separator, count) if rest else None
    return (line + wrong[0], wrong[1]) if wrong else None


def _first_wrong(text: bytes, separator: bytes, count: int) -> tuple[int, int] | None:
    """Return the number, from 0, of the first line that does not have `count` separators, and how many it has.

    Every line of `text` must have a line end. Uses numpy: a compiled loop would be faster, but loading numba takes a
    second and 100 MB.
    """
    characters = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(characters == ord(b"\n"))
    begins = np.append(0, ends + 1)[:-1]
    before = np.searchsorted(np.flatnonzero(characters == separator[0]), ends)
    counts = np.diff(before, prepend=0)
    is_empty = (ends == begins) | ((ends == begins + 1) & (characters[begins] == ord(b"\r")))
    wrong = np.flatnonzero((counts != count) & ~is_empty)
    return (int(wrong[0]), int(counts[wrong[0]])) if len(wrong) else None


def label(path: Path | str, where: str) -> str:
    """Return a file's path as messages show it, followed by its setting in brackets."""
    return f"{path} ({where})" if where else str(path)


def why(error: Exception) -> str:
    """Return why a file cannot be read."""
    if isinstance(error, UnicodeDecodeError):
        return "it is not text in UTF-8"
    return (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {str(error).splitlines()[0]}"


def other_files(path: Path) -> str:
    """Return a sentence on what else is in the folder of a missing file; empty if the file exists.

    The text begins with a blank.
    """
    if path.exists():
        return ""
    if not path.parent.is_dir():
        return f" There is no folder {path.parent}."
    names = sorted(one.name for one in path.parent.iterdir() if one.suffix == path.suffix)
    shown = ", ".join(names[:MAX_NAMES]) + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")
    return f" {path.parent} contains {shown}." if names else f" {path.parent} contains no {path.suffix or 'such'} file."


def other_delimiter(header: list[str]) -> str:
    """Return advice for a header whose columns are separated by semicolons or tabs; empty for other headers.

    The text begins with a blank.
    """
    marks = {";": "semicolons", "\t": "tabs"}
    delimiter = next((name for mark, name in marks.items() if len(header) == 1 and mark in header[0]), "")
    return (
        f" The header is separated by {delimiter}: save the file with commas between its columns." if delimiter else ""
    )


def read_rows(path: Path, where: str, what: str) -> list[tuple[int, list[str]]]:
    """Return the rows of a small CSV file, each with the number of its first line. `what` is the kind of file, for messages.

    Raises InputError for a file that cannot be read, and for a quote that does not close, or that closes in the middle of a field.
    """
    rows, begin = [], 1
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            for row in reader:
                rows.append((begin, row))
                begin = reader.line_num + 1
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{label(path, where)}: this {what} cannot be read: {why(error)}.{other_files(path)}"
        ) from None
    except csv.Error:
        raise InputError(
            f"{label(path, where)}, line {begin}: a quote in this row does not close, or closes in the middle of a field. Write a"
            ' quote in a quoted field twice ("").'
        ) from None
    return rows


@contextmanager
def reading(path: Path | str, where: str) -> Iterator[None]:
    """Raise InputError, with the file and its setting, if polars finds the file damaged or unreadable.

    Polars reports a damaged gzip stream as an OSError without an errno. An OSError with an errno may concern the caller's own
    files, so it is raised unchanged, unless a file is missing or must not be read.
    """
    from polars.exceptions import PolarsError  # GPU workers read lists, and have no polars

    try:
        yield
    except OSError as error:
        if isinstance(error, PermissionError | FileNotFoundError):
            raise InputError(f"{label(path, where)}: the file cannot be read: {why(error)}.") from None
        if error.errno is not None:
            raise
        raise InputError(_damaged(path, where, error)) from None
    except PolarsError as error:
        raise InputError(f"{label(path, where)}: the file cannot be read ({why(error)}). Copy it again.") from None


def check_gzip(path: Path, where: str) -> None:
    """Raise InputError if the beginning of a gzip file is damaged. Other formats are not checked."""
    if not path.is_file():
        return  # the reader of the file reports this
    try:
        with path.open("rb") as raw:
            if raw.read(len(GZIP)) == GZIP:
                raw.seek(0)
                gzip.GzipFile(fileobj=raw).read(HEAD_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(_damaged(path, where, error)) from None
    except OSError as error:
        raise InputError(f"{label(path, where)}: the file cannot be read: {why(error)}.") from None


def _damaged(path: Path | str, where: str, error: Exception) -> str:
    return (
        f"{label(path, where)}: the gzip stream is damaged or cut off ({error})."
        " None of its content can be trusted: copy it again."
    )
