"""Line breaks in quotes belong to their field (RFC 4180), and from an unclosed quote to its close nothing is a row."""

import csv
import gzip
import io
import resource
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import chunks, files, text
from ehr_pipeline.records.chunks import Unread
from ehr_pipeline.records.kinds import EventKind
from ehr_pipeline.records.layouts import DelimitedText, EventColumns, EventFiles
from ehr_pipeline.records.lines import LineStream
from ehr_pipeline.records.quoting import Quoting
from ehr_pipeline.work.progress import Progress

COLUMNS = {"patient": "p", "note": "no\nte", "code": "c"}
Found = tuple[list[tuple[int, ...]], list[tuple[int, str]]]


def read(path: Path, block: int = 1 << 20, numbers: tuple[str, ...] = (), **layout: str) -> Found:
    """Rows with the numbers of their lines, and rejected lines."""
    kind = DelimitedText(files="*", **{"delimiter": ",", "quote": '"'} | layout)
    rows, rejected, line = [], [], text.first_line(kind)
    for split in text.read(
        path, kind, COLUMNS, "records.events[0]", block_bytes=block, progress=Progress("x", 1), numbers=numbers
    ):
        found = split()
        for part in [found.rows] if found.plain is None else [found.rows, found.plain]:
            as_text = part.select("line", *(pl.col(name).cast(pl.String).str.strip_chars() for name in COLUMNS))
            rows += as_text.with_columns(pl.col("line") + line).rows()
        rejected += found.rejected.with_columns(pl.col("line") + line).rows()
        line += found.lines
    return sorted(rows), sorted(rejected)


def by_csv(content: str, **form: str) -> list[tuple[int, ...]]:
    """Rows with the numbers of their lines, by Python's csv module. Line breaks come out as newlines, as everywhere here."""
    lines = io.StringIO(content, newline="\n")
    reader = csv.reader(lines, strict=True, delimiter=form["delimiter"], quotechar=form["quote"])
    next(reader)
    begin, rows = reader.line_num + 1, []
    for row in reader:
        rows.append((begin, *(field.replace("\r\n", "\n").strip() for field in row)))
        begin = reader.line_num + 1
    return rows


NUMBER = st.one_of(st.integers(1, 10**9).map(str), st.sampled_from(["7", "P7", "007"]))
NOTE = st.text(st.sampled_from("aé\"',;\t\n\n\r x1"), max_size=12).map(lambda note: note.replace("\r\r", "\r"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(
    rows=st.lists(st.tuples(NUMBER, NOTE, NUMBER), min_size=1, max_size=30),
    form=st.sampled_from([(",", '"'), ("\t", '"'), (";", "'"), (",", "'")]),
    end=st.sampled_from(["\n", "\r\n"]),
    everything=st.booleans(),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "latin-1", "utf-16"]),
    packed=st.booleans(),
    block=st.sampled_from([1, 16, 100, 1 << 20]),
    numbers=st.sampled_from([(), ("patient", "code")]),
)
def test_any_well_formed_file_reads_as_by_pythons_csv(
    tmp_path: Path,
    rows: list[tuple[str, str, str]],
    form: tuple[str, str],
    end: str,
    everything: bool,
    encoding: str,
    packed: bool,
    block: int,
    numbers: tuple[str, ...],
) -> None:
    written = io.StringIO(newline="")
    returns = any(
        "\r" in note for _, note, _ in rows
    )  # Python 3.11 writes those without quotes, and does not read them so
    quoting = csv.QUOTE_ALL if everything or returns else csv.QUOTE_MINIMAL
    writer = csv.writer(written, delimiter=form[0], quotechar=form[1], lineterminator=end, quoting=quoting)
    writer.writerows([tuple(COLUMNS.values()), *rows])
    data = written.getvalue().encode(encoding)
    path = tmp_path / "events.csv"
    path.write_bytes(gzip.compress(data, 1) if packed else data)
    found, rejected = read(path, block, numbers, delimiter=form[0], quote=form[1], encoding=encoding)
    assert rejected == []
    assert found == by_csv(written.getvalue(), delimiter=form[0], quote=form[1])


def write(tmp_path: Path, rows: str) -> Path:
    (tmp_path / "events.csv").write_text('p,"no\nte",c\n' + rows, encoding="utf-8")
    return tmp_path / "events.csv"


@pytest.mark.parametrize("block", [1, 7, 30, 1 << 20])
@pytest.mark.parametrize("numbers", [(), ("patient", "code")])
def test_a_line_of_free_text_is_no_row(tmp_path: Path, block: int, numbers: tuple[str, ...]) -> None:
    path = write(tmp_path, '1,"copied:\n2,old,7\nend",5\n3,plain,8\n"4",x,9\n')
    rows = [(3, "1", "copied:\n2,old,7\nend", "5"), (6, "3", "plain", "8"), (7, "4", "x", "9")]
    assert read(path, block, numbers) == (rows, [])


@pytest.mark.parametrize("block", [1, 7, 30, 1 << 20])
@pytest.mark.parametrize("numbers", [(), ("patient", "code")])
@pytest.mark.parametrize(
    ("rows", "kept", "rejected"),
    [
        ('1,a,5\n2,"open,6\n3,b,7\n4,c,8\n', [(3, "1", "a", "5")], range(4, 7)),  # to the end of the file
        ('1,a,5\n2,"open,6\n3,b,7\n4,"c",8\n5,d,9\n', [(3, "1", "a", "5"), (7, "5", "d", "9")], range(4, 7)),
        ('1,"say "so\n2,b,6"\n3,c,7\n', [(5, "3", "c", "7")], range(3, 4)),  # what follows is a literal quote
    ],
)
def test_from_an_unclosed_quote_to_its_close_every_line_is_rejected(
    tmp_path: Path, block: int, numbers: tuple[str, ...], rows: str, kept: list[tuple[int, ...]], rejected: range
) -> None:
    found, lines = read(write(tmp_path, rows), block, numbers)
    told = [(n, "unclosed_quote" if n == rejected[0] else "after_unclosed_quote") for n in rejected]
    if "so\n2" in rows:
        kept = [(4, "2", "b", '6"'), *kept]
    assert (found, lines) == (kept, told)


@pytest.mark.parametrize("block", [1 << 10, 1 << 16, 1 << 24])
def test_a_quote_that_stays_open_for_too_long_is_rejected_line_by_line(tmp_path: Path, block: int) -> None:
    inside = 20_000
    path = write(tmp_path, '1,"' + "\n2,copied,6" * inside + '\nend",5\n3,b,7\n')
    rows, rejected = read(path, block)
    assert rows == [(3 + inside + 2, "3", "b", "7")]
    assert rejected == [(3, "unclosed_quote"), *((n, "after_unclosed_quote") for n in range(4, inside + 5))]


class Endless(io.RawIOBase):
    """Rows after a quote that nobody closes."""

    def __init__(self, size: int):
        self.left, self.rows = size, memoryview(b"1,text,5\n" * 100_000)
        self.begun = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        if not self.begun:
            self.begun, buffer[:3] = True, b'1,"'
            return 3
        size = min(len(buffer), self.left, len(self.rows))
        self.left -= size
        buffer[:size] = self.rows[:size]
        return size


def test_a_quote_that_nobody_closes_takes_no_memory_and_every_line_is_counted() -> None:
    size = 900_000 * 200
    quoted, before = Quoting(b",", b'"'), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stream = LineStream(io.BufferedReader(Endless(size), 900_000))  # type: ignore[type-var]
    blocks: Iterator[bytes | Unread] = chunks.whole_rows(stream, 9_000_000, quoted)
    lines = 0
    for block in blocks:
        assert isinstance(block, Unread)
        assert block.first == ("after_unclosed_quote" if lines else "unclosed_quote")
        lines += block.lines
    assert lines == size // 9
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10, "in KB"


def test_a_header_with_a_line_break_in_any_case(tmp_path: Path) -> None:
    path = write(tmp_path, "1,a,5\n")
    own = EventFiles(files="*", delimiter=",", quote='"', columns=EventColumns(patient="P", date="NO\nTE", code="C"))
    kind = EventKind(where="records.events[0]", files=own, any_case=True)
    assert files.columns_in_file(path, kind) == {"patient": "p", "date": "no\nte", "code": "c"}


def test_a_header_whose_quote_stays_open_is_told(tmp_path: Path) -> None:
    for rows in ("1,a,5\n", "1,a,5\n" * 100_000):
        (tmp_path / "events.csv").write_text('p,"note,c\n' + rows)
        with pytest.raises(
            InputError, match=r"events.csv, line 1: a quote \(\"\) opens in the header and does not close"
        ):
            read(tmp_path / "events.csv")
