"""Rows of plain numbers go a faster way: it must give what the careful way gives, whatever stands in the file."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ehr_pipeline.records import text
from ehr_pipeline.records.layouts import DelimitedText
from ehr_pipeline.work.progress import Progress

COLUMNS = {"patient": "p", "date": "d", "code": "c"}
KIND = DelimitedText(files="*")
Found = tuple[list[tuple[int, str, str, str]], list[tuple[int, str]], int]


def read(path: Path, numbers: tuple[str, ...], block: int, kind: DelimitedText = KIND) -> Found:
    """All rows as text, the rejected lines, and how many rows were plain."""
    rows, rejected, plain, line = [], [], 0, text.first_line(kind)
    for split in text.read(path, kind, COLUMNS, "x", block_bytes=block, progress=Progress("x", 1), numbers=numbers):
        found = split()
        frames = [found.rows.select("line", *COLUMNS)]
        if found.plain is not None:
            plain += found.plain.height
            frames.append(found.plain.select("line", *(pl.col(c).cast(pl.String).str.strip_chars() for c in COLUMNS)))
        rows += pl.concat(frames).with_columns(pl.col("line") + line).rows()
        rejected += found.rejected.with_columns(pl.col("line") + line).rows()
        line += found.lines
    return sorted(rows), sorted(rejected), plain


def both(path: Path, content: bytes, block: int = 1 << 20) -> int:
    """Read both ways, compare, and return how many rows were plain."""
    path.write_bytes(b"p\td\tc\n" + content)
    quick, careful = read(path, ("patient", "code"), block), read(path, (), block)
    assert quick[:2] == careful[:2]
    return quick[2]


def test_clean_rows_are_plain(tmp_path: Path) -> None:
    content = b"".join(b"%d\t01/02/2003\t%d\n" % (n, n * n + 1) for n in range(1, 500))
    assert both(tmp_path / "x", content) == 499
    assert both(tmp_path / "x", content, block=64) == 499


def test_numbers_and_texts_of_every_length_at_every_place_of_a_word(tmp_path: Path) -> None:
    digits = b"98765432109876543210"
    content = b"".join(
        b"%s\t%s\t%s\n" % (digits[:one], b"abcdefghijklmnopqrst"[:length], digits[:other])
        for one in range(1, 21)
        for length in range(21)
        for other in range(1, 21)
    )
    assert both(tmp_path / "x", content) == 18 * 13 * 18


def test_every_byte_within_and_behind_numbers_and_texts(tmp_path: Path) -> None:
    rows = (
        b"12345%c7\t0%c/02/2003\t%d%c\n" % (byte, byte, number, byte) for byte in range(256) for number in (1, 10**9)
    )
    assert both(tmp_path / "x", b"".join(rows) + b"1\td\t1\n" * 2000) == 2000 + 20  # and those with a digit


def test_more_lines_than_the_beginning_of_a_block_tells(tmp_path: Path) -> None:
    long = b"1\t%s\t2\n" % (b"x" * 1000)
    assert both(tmp_path / "x", 100 * long + 50_000 * b"1\td\t2\n") == 50_000


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\t\t",
        b"1\t2",
        b"1\t2\t3\t4",
        b"007\td\t5",
        b" 1\td\t5",
        b"1\td\t5 ",
        b"+1\td\t5",
        b"1\td\t",
        b"\td\t5",
        b"x\td\t5",
        b"1\td\tM1..",
        b"1\t\t5",
        b"1\td\t1.0",
        b"1\t\xff\t5",
        b"-1\td\t5",
        b"1\td\t" + b"9" * 19,
        b"1\t d\t5",
        b"1\td\x00\t5",
        b'"1"\td\t5',
        b"0\td\t5",
        b"1\td\t5\r",
        b"1\td\t0x5",
    ],
)
def test_one_odd_line_among_clean_ones(tmp_path: Path, line: bytes) -> None:
    clean = [b"%d\t01/02/2003\t%d" % (n, n + 1) for n in range(1, 9)]
    both(tmp_path / "x", b"\n".join([*clean[:4], line, *clean[4:]]) + b"\n")
    both(tmp_path / "x", b"\n".join([*clean, line]))
    both(tmp_path / "x", b"\n".join([line, *clean]) + b"\n")


FIELD = st.one_of(
    st.integers(1, 10**18 + 5).map(str), st.sampled_from(["", "0", "01", " 7", "7 ", "a", "1e5", "é", "01/02/2003"])
)
LINE = st.one_of(st.tuples(FIELD, FIELD, FIELD), st.lists(FIELD, max_size=5).map(tuple)).map("\t".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(lines=st.lists(LINE, max_size=30), block=st.sampled_from([16, 100, 1 << 20]))
def test_any_lines(tmp_path: Path, lines: list[str], block: int) -> None:
    clean = ["5\t01/02/2003\t6"] * len(lines)
    both(tmp_path / "x", ("\n".join([*clean, *lines]) + "\n").encode(), block)


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        (b"3\t\t01/02/2003\t4\t", 8),
        (b"3\tx\t01/02/2003\t4\ta longer text than twelve bytes", 8),
        (b"3\tcaf\xc3\xa9\t01/02/2003\t4\t", 8),
        (b'3\tx\t01/02/2003\t4\tsay "so"', 7),
        (b'3\t"x\ty"\t01/02/2003\t4\t', 7),
        (b'3\tx\t"01/02/2003"\t4\t', 7),
        (b"3\ta\rb\t01/02/2003\t4\t", 7),
        (b"3\t\0\t01/02/2003\t4\t", 7),
        (b"3\tx\ty\t01/02/2003\t4\t", 7),
        (b"3\t01/02/2003\t4\t", 7),
    ],
)
def test_columns_that_nobody_wants(tmp_path: Path, line: bytes, plain: int) -> None:
    path, quoting = tmp_path / "x", DelimitedText(files="*", quote='"')
    lines = [b"%d\ty\t01/02/2003\t%d\t" % (n, n + 1) for n in range(1, 9)]
    lines[2] = line
    path.write_bytes(b"p\tx\td\tc\ty\n" + b"\n".join(lines) + b"\n")
    quick, careful = read(path, ("patient", "code"), 1 << 20, quoting), read(path, (), 1 << 20, quoting)
    assert quick[:2] == careful[:2]
    assert quick[2] == plain
