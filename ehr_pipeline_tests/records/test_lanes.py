"""Whatever stands in a file: both ways to split lines give what a few lines of plain Python give."""

import csv
from pathlib import Path
from unittest import mock

import polars as pl
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ehr_pipeline.records import chunks, text
from ehr_pipeline.records.layouts import DelimitedText
from ehr_pipeline.work.progress import Progress

COLUMNS = {"patient": "p", "date": "d", "code": "c"}
HEADER = b"p\td\tc\n"
LIMIT = 60
# White space by Unicode, as Rust has it; Python's strip() also takes the separators 1c to 1f.
BLANKS = "\t\n\x0b\x0c\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
Found = tuple[list[tuple[int, ...]], list[tuple[int, str]]]


def oracle(content: bytes, quote: str) -> Found:
    """Rows and rejected lines, one row at a time."""
    if b"\r" in content and b"\n" not in content:
        content = content.replace(b"\r", b"\n")
    raw_lines = content.split(b"\n")
    raw_lines = raw_lines[1:] if raw_lines[-1] else raw_lines[1:-1]
    clean = [raw.decode(errors="replace").lstrip("\ufeff").rstrip("\r") for raw in raw_lines]
    rows, rejected, at = [], [], 0
    while at < len(clean):
        count = _lines_of_row(clean[at:], quote)
        row, raw = "\n".join(clean[at : at + count]), b"\n".join(raw_lines[at : at + count])
        is_open = _lines_of_row([*clean[at:], ""], quote) > len(clean) - at  # at the end of the file
        number, at = at + 2, at + count
        values = _values(row, quote)
        if len(raw) > LIMIT or values == ["unclosed_quote"]:
            rejected.append(
                (number, "unclosed_quote" if count > 1 or is_open or len(raw) <= LIMIT else "line_too_long")
            )
            rejected += [(number + more, "after_unclosed_quote") for more in range(1, count)]
        elif len(values) == 1:
            rejected.append((number, values[0]))
        elif values == ["p", "d", "c"]:
            rejected.append((number, "repeated_header"))
        elif set(values) <= {"p", "d", "c"}:
            rejected.append((number, text.CHANGED_HEADER))
        else:
            rows.append((number, *values))
    return rows, rejected


def _lines_of_row(following: list[str], quote: str) -> int:
    """How many lines the row has that begins with the first of some lines, by Python's csv module."""
    if not quote or quote not in following[0]:
        return 1
    reader = csv.reader((line.replace("\r", "x") + "\n" for line in following), delimiter="\t", quotechar=quote)
    next(reader)
    return reader.line_num


def _values(row: str, quote: str) -> list[str]:
    """The values of a row, or why it is none. A quote that is not closed comes first: it says where the row should have ended."""
    if "\0" in row:
        return ["unclosed_quote" if _values(row.replace("\0", "x"), quote) == ["unclosed_quote"] else "nul_byte"]
    fields = row.split("\t")
    if not row.strip("\t"):
        return ["empty_line"]
    if quote and quote in row:
        try:
            fields = next(csv.reader([row], delimiter="\t", quotechar=quote, strict=True))
        except csv.Error:
            return ["stray_carriage_return" if _only_returns_are_wrong(row, quote) else "unclosed_quote"]
    elif "\r" in row:
        return ["stray_carriage_return"]
    if len(fields) != 3:
        return ["wrong_number_of_fields"]
    return [field.strip(BLANKS) for field in fields]


def _only_returns_are_wrong(row: str, quote: str) -> bool:
    try:
        next(csv.reader([row.replace("\r", "")], delimiter="\t", quotechar=quote, strict=True))
    except csv.Error:
        return False
    return "\r" in row


def read(path: Path, quote: str, numbers: tuple[str, ...], block: int) -> Found:
    kind = DelimitedText(files="*", quote=quote)
    rows, rejected, line = [], [], 2
    with mock.patch.object(chunks, "LINE_LIMIT", LIMIT):
        for split in text.read(path, kind, COLUMNS, "x", block_bytes=block, progress=Progress("x", 1), numbers=numbers):
            found = split()
            parts = [found.rows] if found.plain is None else [found.rows, found.plain]
            for part in parts:
                as_text = part.select("line", *(pl.col(name).cast(pl.String).str.strip_chars() for name in COLUMNS))
                rows += as_text.with_columns(pl.col("line") + line).rows()
            rejected += found.rejected.with_columns(pl.col("line") + line).rows()
            line += found.lines
    return sorted(rows), sorted(rejected)


FIELD = st.one_of(
    st.integers(1, 10**18 + 5).map(lambda number: str(number).encode()),
    st.sampled_from(
        [
            b"",
            b"0",
            b"01",
            b" 7",
            b"7 ",
            b"1e5",
            b"01/02/2003",
            b"p",
            b"d",
            b"c",
            b'"a"',
            b'"',
            b'"a\tb"',
            b'a""b',
            b'"a\n',
            b'b"',
            b'"\n1\t2\t3\n"',
        ]
    ),
    st.sampled_from(
        [
            "é".encode(),
            b"\xff",
            b"\xe2\x82",
            b"\0",
            b"\r",
            b"\x1c7",
            b"7\x85",
            b"\xc2\x857",
            b"\xef\xbb\xbf7",
            b"\xef\xbb\xbf" * 2,
            b"x" * 58,
        ]
    ),
    st.binary(max_size=5),
)
LINE = st.one_of(st.tuples(FIELD, FIELD, FIELD), st.lists(FIELD, max_size=5).map(tuple)).map(b"\t".join)
END = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r\r\n"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=120)
@given(
    found=st.lists(st.tuples(LINE, END), max_size=20),
    clean=st.integers(0, 25),
    last=st.one_of(st.just(b""), LINE),
    quote=st.sampled_from(["", '"']),
    block=st.sampled_from([1, 16, 100, 1 << 20]),
)
@example(
    found=[(b"p\td\tc", b"\n"), (b"\xef\xbb\xbfp\td\tc", b"\r\n"), (b"\xef\xbb\xbf1\t2\t3", b"\n")],
    clean=9,
    last=b"",
    quote="",
    block=7,
)
@example(
    found=[(b"\xef\xbb\xbf\xef\xbb\xbf1\t2\t3", b"\n"), (b"1\t\0\t3", b"\n")], clean=9, last=b"", quote="", block=16
)
@example(
    found=[(b"x" * 61, b"\n"), (b"x" * 60, b"\n"), (b"x" * 300, b"\r\n")], clean=2, last=b"y" * 61, quote="", block=16
)
@example(
    found=[(b'1\t1\t"a\n\t\x00', b"\n"), (b"1\t100\t10000", b"\n")], clean=15, last=b"", quote='"', block=100
)  # rows that a quote swallowed, with a byte that no text has
def test_both_ways_give_what_plain_python_gives(
    tmp_path: Path, found: list[tuple[bytes, bytes]], clean: int, last: bytes, quote: str, block: int
) -> None:
    path = tmp_path / "x"
    content = HEADER + b"5\t01/02/2003\t6\n" * clean + b"".join(line + end for line, end in found) + last
    path.write_bytes(content)
    expected = oracle(content, quote)
    assert read(path, quote, (), block) == expected
    assert read(path, quote, ("patient", "code"), block) == expected


def test_old_mac_files(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"p\td\tc\r1\t2\t3\rragged\r4\t5\t6\r")
    expected = [(2, "1", "2", "3"), (4, "4", "5", "6")], [(3, "wrong_number_of_fields")]
    assert (
        read(path, "", (), 16)
        == read(path, "", ("patient", "code"), 1 << 20)
        == expected
        == oracle(path.read_bytes(), "")
    )
