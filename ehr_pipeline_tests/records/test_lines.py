"""What a file really is, and lines without an end."""

import bz2
import gzip
import io
import lzma
import random
import resource
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import chunks, lines
from ehr_pipeline.records.chunks import Unread
from ehr_pipeline.records.layouts import DelimitedText
from ehr_pipeline.records.quoting import Quoting


def blocks(path: Path, encoding: str = "utf-8", size: int = 1 << 20) -> list[bytes | Unread]:
    return list(lines.blocks(path, encoding, "records.events[0]", size))


def write(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "events.txt").write_bytes(data)
    return tmp_path / "events.txt"


def _zip() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    return stream.getvalue()


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("events.txt"))
    return stream.getvalue()


def _arrow(kind: str) -> bytes:
    import polars as pl

    stream = io.BytesIO()
    getattr(pl.DataFrame({"id": [1]}), f"write_{kind}")(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (_zip(), "a zip archive or an Excel workbook"),
        (_arrow("parquet"), "a Parquet file"),
        (_arrow("ipc"), "an Arrow file"),
        (bz2.compress(b"id\n"), "compressed with bzip2"),
        (lzma.compress(b"id\n"), "compressed with xz"),
        (b"\x28\xb5\x2f\xfd\x20", "compressed with zstd"),
        (_tar(), "a tar archive"),
        (gzip.compress(_tar()), "a tar archive"),
        (gzip.compress(_zip()), "a zip archive"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "an old Excel"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"SQLite format 3\0", "an SQLite database"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # some bytes tell the time
)
def test_other_formats_are_told(tmp_path: Path, data: bytes, told: str) -> None:
    with pytest.raises(InputError, match=rf"events.txt: not delimited text, but probably {told}"):
        blocks(write(tmp_path, data))


def test_what_is_called_gzip_and_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "events.csv.gz"
    for size in (200, 100_000):
        path.write_bytes(b"\x8b" + random.Random(size).randbytes(size))
        with pytest.raises(InputError, match=r"events.csv.gz: neither a gzip file, though its name ends in .gz"):
            blocks(path)
    for encoding in ("utf-8", "utf-16", "latin-1"):
        path.write_bytes("id\té\x1f\n".encode(encoding))
        assert blocks(path, encoding), "text that somebody unpacked is read"


def test_a_column_named_like_a_format_is_none(tmp_path: Path) -> None:
    assert blocks(write(tmp_path, b"PAR1\tid\n")) == [b"PAR1\tid\n"]


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp037", "utf-7", "shift_jis", "iso2022_jp"]
)
@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_encodings_in_which_a_newline_is_not_one_byte(tmp_path: Path, encoding: str, size: int) -> None:
    text = "id\tcode\r\n1+1\tカ\n2\tb\n" if encoding != "cp037" else "id\tcode\n1\té\n2\tb\n"
    assert b"".join(filter(None, blocks(write(tmp_path, text.encode(encoding)), encoding, size))) == text.encode()
    assert (
        b"".join(filter(None, blocks(write(tmp_path, gzip.compress(text.encode(encoding))), encoding))) == text.encode()
    )
    returns = text.replace("\r\n", "\n").replace("\n", "\r")
    found = blocks(write(tmp_path, returns.encode(encoding)), encoding)
    assert b"".join(filter(None, found)) == returns.replace("\r", "\n").encode()


@pytest.mark.parametrize(
    ("data", "encoding", "told"),
    [
        (
            "id\n".encode("utf-16"),
            "utf-8",
            r"that of utf-16, but records.events\[0\].encoding is 'utf-8'. Set it to 'utf-16'",
        ),
        ("id\n".encode("utf-16"), "latin-1", "that of utf-16"),
        ("id\n".encode("utf-32"), "utf-16", "that of utf-32"),
        ("id\n".encode("utf-8-sig"), "latin-1", "that of utf-8, but .* is 'latin-1'"),
        ("id\n".encode("utf-8-sig"), "utf-16-le", "that of utf-8"),
        ("id\n".encode("utf-16-le"), "utf-16", "no byte order mark .* Set it to 'utf-16-le'"),
    ],
)
def test_marks_that_contradict_the_settings(tmp_path: Path, data: bytes, encoding: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        blocks(write(tmp_path, data), encoding)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf_8_sig", "ascii", "latin-1", "cp1252", "utf-16", "utf-32-be", "gb18030", "cp037"]
)
def test_encodings_that_the_settings_allow_work(tmp_path: Path, encoding: str) -> None:
    assert not list(DelimitedText(files="*", encoding=encoding).problems())
    assert blocks(write(tmp_path, "id\n".encode(encoding)), encoding)


@pytest.mark.parametrize(
    "encoding", ["hex", "base64", "rot13", "zlib", "punycode", "idna", "nothing", "", "a\0b", "undefined"]
)
def test_encodings_that_are_none_are_refused(encoding: str) -> None:
    assert len(list(DelimitedText(files="*", encoding=encoding).problems())) == 1


@pytest.mark.parametrize("size", [1, 100, chunks.LINE_LIMIT, 1 << 24])
@pytest.mark.parametrize("packed", [False, True])
def test_a_line_that_is_too_long_is_one_none_whatever_the_block(tmp_path: Path, size: int, packed: bool) -> None:
    limit = chunks.LINE_LIMIT
    content = [b"id", b"x" * limit, b"y" * (limit + 1), b"1", b"z" * (10 << 20), b"2", b"w" * (limit + 1)]
    data = b"\n".join(content)
    found = blocks(write(tmp_path, gzip.compress(data, 1) if packed else data), size=size)
    flat = [line for block in found for line in (block.splitlines() if isinstance(block, bytes) else [None])]
    assert flat == [line if len(line) <= limit else None for line in content]


class Endless(io.RawIOBase):
    """A file of one line without an end."""

    def __init__(self, size: int):
        self.left = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        size = min(len(buffer), self.left)
        self.left -= size
        buffer[:size] = b"x" * size
        return size


@pytest.mark.parametrize("is_quoted", [False, True])
def test_a_gigabyte_without_a_newline_takes_no_memory(is_quoted: bool) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stream = lines.LineStream(io.BufferedReader(Endless(1 << 30), 1 << 20))  # type: ignore[type-var]
    quoted = Quoting(b",", b'"') if is_quoted else None
    assert list(chunks.whole_rows(stream, 16 << 20, quoted)) == [Unread(1, chunks.TOO_LONG, 1 << 30)]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10, "in KB"


@pytest.mark.parametrize("size", [1, 64, 1000])
def test_a_block_of_many_short_lines_is_divided(tmp_path: Path, size: int) -> None:
    data = b"id\n" + b"\n" * 100 + b"a longer line\n" + b"1\n" * 50 + b"the end"
    found = blocks(write(tmp_path, data), size=size)
    assert b"".join(block for block in found if isinstance(block, bytes)) == data + b"\n"
    assert all(
        isinstance(block, bytes) and block.endswith(b"\n") and block.count(b"\n") <= max(size // chunks.MIN_LINE, 1)
        for block in found
    )


def test_several_members_of_gzip_are_one_text(tmp_path: Path) -> None:
    data = gzip.compress(b"id\tco") + gzip.compress(b"") + gzip.compress(b"de\n1\t2\n") + b"\0" * 100
    assert blocks(write(tmp_path, data)) == [b"id\tcode\n1\t2\n"]


@pytest.mark.parametrize(
    "damage", [lambda d: d[:-1], lambda d: d[:-9] + b"\xff" + d[-8:], lambda d: d + b"garbage", lambda d: d[:2]]
)
def test_damaged_gzip(tmp_path: Path, damage: object) -> None:
    data = gzip.compress(b"id\tcode\n1\t2\n" * 1000)
    with pytest.raises(InputError, match="the gzip stream is damaged or cut off"):
        blocks(write(tmp_path, damage(data)))  # type: ignore[operator]


@pytest.mark.parametrize("change", ["grow", "shrink", "replace", "touch"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, change: str) -> None:
    path = write(tmp_path, b"1\t2\n" * 100_000)
    reading: Iterator[bytes | Unread] = lines.blocks(path, "utf-8", "x", 1 << 16)
    next(reading)
    if change == "grow":
        with path.open("ab") as stream:
            stream.write(b"more\n")
    elif change == "shrink":
        with path.open("ab") as stream:
            stream.truncate(1 << 17)
    elif change == "replace":
        (tmp_path / "other").write_bytes(path.read_bytes())
        (tmp_path / "other").replace(path)
    else:
        import os

        os.utime(path, ns=(1, 1))
    with pytest.raises(
        InputError, match=r"events.txt: the file changed while it was read. Wait until the extract is complete"
    ):
        list(reading)


def test_a_file_that_vanishes_while_it_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, b"1\t2\n" * 100_000)
    reading = lines.blocks(path, "utf-8", "x", 1 << 16)
    next(reading)
    path.unlink()
    with pytest.raises(InputError, match=r"events.txt: the file has vanished"):
        list(reading)


def test_a_growing_gzip_file_is_told_as_growing(tmp_path: Path) -> None:
    whole = gzip.compress(b"".join(b"%d\t%d\n" % (n, n * n) for n in range(100_000)))
    path = write(tmp_path, whole[: len(whole) // 2])
    reading = lines.blocks(path, "utf-8", "x", 1 << 12)
    next(reading)
    with path.open("ab") as stream:
        stream.write(whole[len(whole) // 2 : -100])
    with pytest.raises(InputError, match="the file changed while it was read"):
        list(reading)


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = write(tmp_path, b"id\n")
    monkeypatch.setattr(Path, "open", forbidden)  # tests may run as a user who may read everything
    with pytest.raises(InputError, match=r"events.txt: no permission to read the file. Change its permissions"):
        blocks(path)
