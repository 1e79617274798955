"""What every reader of a terminology file does alike: name the setting that names the file, and tell of a damaged one."""

import csv
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ehr_pipeline.errors import InputError

HEAD_BYTES = 8 << 20
GZIP = b"\x1f\x8b"


def named(path: Path | str, where: str) -> str:
    """A file and the setting that names it, for a message."""
    return f"{path} ({where})" if where else str(path)


def why(error: Exception) -> str:
    """Why a file cannot be read."""
    if isinstance(error, UnicodeDecodeError):
        return "it is no text in UTF-8"
    return (isinstance(error, OSError) and error.strerror) or f"{type(error).__name__}: {str(error).splitlines()[0]}"


def read_rows(stream: TextIO, file: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a small CSV file, each with the number of the line in which it begins. `file` names it in messages.

    Raises InputError for quotes that do not close, or close in the middle of a field.
    """
    reader, begin = csv.reader(stream, strict=True), 1
    try:
        for row in reader:
            yield begin, row
            begin = reader.line_num + 1
    except csv.Error:
        raise InputError(
            f"{file}, line {begin}: a quote in this row does not close, or closes in the middle of a field. Write a quote in a"
            ' quoted field twice ("").'
        ) from None


@contextmanager
def reading(path: Path | str, where: str) -> Iterator[None]:
    """Raise InputError with file and setting where the file proves damaged while polars reads it.

    Polars tells of a damaged gzip stream as an OSError without a number. Those with one may be about the caller's own files, and
    are left to it.
    """
    from polars.exceptions import PolarsError  # GPU workers read lists, and have no polars

    try:
        yield
    except OSError as error:
        if isinstance(error, PermissionError | FileNotFoundError):
            raise InputError(f"{named(path, where)}: the file cannot be read: {why(error)}.") from None
        if error.errno is not None:
            raise
        raise InputError(_damaged(path, where, error)) from None
    except PolarsError as error:
        raise InputError(f"{named(path, where)}: the file cannot be read ({why(error)}). Copy it again.") from None


def look(path: Path, where: str) -> None:
    """Raise InputError when the beginning of a gzip file is damaged. Other files are not looked at."""
    if not path.is_file():
        return  # its reader says so
    try:
        with path.open("rb") as raw:
            if raw.read(len(GZIP)) == GZIP:
                raw.seek(0)
                gzip.GzipFile(fileobj=raw).read(HEAD_BYTES)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(_damaged(path, where, error)) from None
    except OSError as error:
        raise InputError(f"{named(path, where)}: the file cannot be read: {why(error)}.") from None


def _damaged(path: Path | str, where: str, error: Exception) -> str:
    return (
        f"{named(path, where)}: the gzip stream is damaged or cut off ({error})."
        " Nothing of the file can be trusted: copy it again."
    )
