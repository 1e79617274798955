"""Read the beginning of a text file of unknown format: encoding, lines before the header, delimiter, cells."""

import csv
import gzip
import io
import zlib
from pathlib import Path

import polars as pl

from ehr_pipeline.errors import InputError

HEAD = 1 << 18
"""Bytes of a text file that are read."""
MOST_ROWS = 5000
"""Rows of a file that are read, at most."""
MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
"""Byte order marks, each with its encoding."""
ALMOST = 0.9
"""Share of the values that must fit for a guess to be accepted."""


def read(path: Path) -> bytes:
    """Return the first HEAD bytes of a file's text. Raises InputError if a gzip file is damaged."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as stream:
            return stream.read(HEAD)
    except (gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{path}: not a valid gzip file, or truncated ({error}). Copy it again.") from None


def unpacked(head: bytes) -> tuple[bytes, int]:
    """Unpack the beginning of a gzip file (`head`). Returns the text, and how many bytes it took. Raises InputError."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        return stream.decompress(head), len(head) - len(stream.unused_data)
    except zlib.error as error:
        raise InputError(f"not a valid gzip file, or truncated ({error}). Copy it again.") from None


def share_of_packed(path: Path) -> float:
    """Return the average number of bytes in the file per byte of its text; 1 if the file is not packed."""
    if path.suffix != ".gz":
        return 1.0
    with path.open("rb") as stream:
        text, taken = unpacked(stream.read(HEAD))
    return taken / max(len(text), 1)


def decoded(raw: bytes) -> tuple[str, str]:
    """Return the encoding of a text, and its whole lines.

    The encoding follows from the byte order mark. Without a mark it is UTF-8 if the text can be read so; otherwise it
    is Latin-1, which reads any byte.
    """
    known = next((encoding for mark, encoding in MARKS if raw.startswith(mark)), "")
    if known == "utf-16":
        text = raw[: len(raw) // 2 * 2].decode("utf-16", errors="replace")
    else:
        whole = raw[: raw.rfind(b"\n") + 1] or raw
        try:
            known, text = "utf-8", whole.decode("utf-8-sig")
        except UnicodeDecodeError:
            known, text = "latin-1", whole.decode("latin-1")
    return known, text[: text.rfind("\n") + 1] or text


def lines_before_header(lines: list[str]) -> int:
    """Return how many lines come before the header: comments, a title (also in cells: `Report;;;`), Excel's `sep=;`, empty lines. A
    header may begin with '#', too: then it has as many delimiters as the line below it."""
    for place, line in enumerate(lines[:-1]):
        mark = max("\t,;|", key=line.count)
        filled = [field for field in line.split(mark) if field.strip(' "\r\n')]
        if len(filled) > 1 and (not line.startswith("#") or line.count(mark) == lines[place + 1].count(mark)):
            return place
    return 0


def delimiter(lines: list[str]) -> str:
    """Return the character that divides the header into the most fields, provided that it divides most other lines into as many."""
    found = []
    for mark in "\t,;|":
        widths = [len(row) for row in csv.reader(lines[:200], delimiter=mark)]
        alike = sum(width == widths[0] for width in widths) / len(widths)
        if widths[0] > 1:
            found.append((alike >= ALMOST / 2, widths[0], mark))
    return max(found)[2] if found else ""


def table(text: str, delimiter: str, quoted: bool) -> tuple[pl.DataFrame, int, tuple[str, ...]]:
    """Return the cells of the rows that have as many as the header, as text; the number of all rows; and the names that several
    columns have, which are left out."""
    rows = list(
        csv.reader(io.StringIO(text), delimiter=delimiter, quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE)
    )
    names = [name.strip() for name in rows[0]]
    whole = [row for row in rows[1 : MOST_ROWS + 1] if len(row) == len(names)]
    cells = pl.DataFrame(
        {name: [row[place] for row in whole] for place, name in enumerate(names) if names.count(name) == 1 and name},
        schema=dict.fromkeys([name for name in names if names.count(name) == 1 and name], pl.String),
    )
    return cells, len(rows) - 1, tuple(dict.fromkeys(name for name in names if name and names.count(name) > 1))
