import gzip
from pathlib import Path

import polars as pl
import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import files, text
from ehr_pipeline.records.kinds import EventKind
from ehr_pipeline.records.layouts import DelimitedText, EventColumns, EventFiles
from ehr_pipeline.store.file_listing import walk
from ehr_pipeline.work.progress import Progress

COLUMNS = {"patient": "id", "code": "code"}


def read(
    path: Path, block: int = 1 << 20, **layout: object
) -> tuple[list[tuple[int, str, str]], list[tuple[int, str]]]:
    """Rows (line, patient, code) and rejected (line, reason) of a file."""
    form = DelimitedText(files="*", **layout)  # type: ignore[arg-type]
    line, rows, rejected = text.first_line(form), [], []
    for split in text.read(path, form, COLUMNS, "records.events[0]", block_bytes=block, progress=Progress("x", 1)):
        found = split()
        rows.append(found.rows.select(pl.col("line") + line, "patient", "code"))
        rejected.append(found.rejected.select(pl.col("line") + line, "reason"))
        line += found.lines
    return list(pl.concat(rows).iter_rows()), list(pl.concat(rejected).sort("line").iter_rows())


def kind(pattern: str) -> EventKind:
    columns = EventColumns(patient="id", date="date", code="code")
    return EventKind(where="records.events[0]", files=EventFiles(files=pattern, columns=columns))


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "events.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


THREE = [(2, "1", "a"), (3, "2", "b"), (4, "3", "c")]


@pytest.mark.parametrize(
    "content",
    [
        "id\tcode\n1\ta\n2\tb\n3\tc\n",
        "id\tcode\n1\ta\n2\tb\n3\tc",  # no newline at the end
        "id\tcode\r\n1\ta\r\n2\tb\r\n3\tc\r\n",
        "\ufeffid\tcode\n1\ta\n2\tb\n3\tc\n",
        "code\tother\tid\na\tx\t1\nb\ty\t2\nc\tz\t3\n",  # other columns, another order
        " id \tcode\n 1\ta  \n2 \tb\n3\t c\n",
    ],
)
def test_ways_to_write_the_same_rows(tmp_path: Path, content: str) -> None:
    assert read(write(tmp_path, content)) == (THREE, [])


@pytest.mark.parametrize("block", [1, 3, 7, 16, 1000])
def test_blocks_of_any_size_give_the_same_rows_and_lines(tmp_path: Path, block: int) -> None:
    assert read(write(tmp_path, "id\tcode\n1\ta\n2\tb\n3\tc\n"), block=block) == (THREE, [])


def test_gzip_is_known_by_its_content_not_its_name(tmp_path: Path) -> None:
    assert read(write(tmp_path, gzip.compress(b"id\tcode\n1\ta\n2\tb\n3\tc\n"))) == (THREE, [])


def test_a_cut_off_gzip_file_is_told(tmp_path: Path) -> None:
    whole = gzip.compress(b"id\tcode\n" + b"".join(b"%d\tx%d\n" % (n, n * n) for n in range(20_000)))
    with pytest.raises(InputError, match=r"events.txt: the gzip stream is damaged or cut off \(.*\). .* copy it again"):
        read(write(tmp_path, whole[: len(whole) // 2]), block=1 << 12)


def test_ragged_and_empty_lines_are_rejected_with_their_numbers(tmp_path: Path) -> None:
    rows, rejected = read(write(tmp_path, "id\tcode\n1\ta\nragged\n\n2\tb\tmore\n3\tc\n"))
    assert rows == [(2, "1", "a"), (6, "3", "c")]
    assert rejected == [(3, "wrong_number_of_fields"), (4, "empty_line"), (5, "wrong_number_of_fields")]


def test_rows_of_nothing_but_delimiters_are_empty(tmp_path: Path) -> None:
    """A spreadsheet leaves such rows below its table, also shorter or longer than the header."""
    rows, rejected = read(write(tmp_path, "id\tcode\n1\ta\n\t\n\t\r\n\t\t\t\n3\tc\n\t"))
    assert rows == [(2, "1", "a"), (6, "3", "c")]
    assert rejected == [(line, "empty_line") for line in (3, 4, 5, 7)]


@pytest.mark.parametrize("block", [1, 16, 1000])
def test_lines_before_the_header_are_not_read(tmp_path: Path, block: int) -> None:
    content = "\ufeff# an export\tof \u00e9vents\n#\nid\tcode\n1\ta\nragged\n3\tc\n"
    found = [(4, "1", "a"), (6, "3", "c")], [(5, "wrong_number_of_fields")]
    path = write(tmp_path, content)
    assert read(path, block, lines_before_header=2) == found
    assert read(write(tmp_path, gzip.compress(content.encode())), block, lines_before_header=2) == found
    bare = {"header": ("id", "code"), "lines_before_header": 3}
    assert read(write(tmp_path, content), block, **bare) == found
    form = DelimitedText(files="*", lines_before_header=2)
    assert text.names(path, form) == ["id", "code"]
    with pytest.raises(InputError, match=r"line 1: no column .* set records.events\[0\].lines_before"):
        text.read_header(path, DelimitedText(files="*"), COLUMNS, "records.events[0]")


def test_fields_may_be_empty(tmp_path: Path) -> None:
    assert read(write(tmp_path, "id\tcode\n\ta\n2\t\n")) == ([(2, "", "a"), (3, "2", "")], [])


def test_quotes(tmp_path: Path) -> None:
    content = 'id,code\n"1","a"\n2,b\n3,"c, d"\n4,"open\n"5,x"\n6,"say ""hi"""\n'
    rows, rejected = read(write(tmp_path, content), delimiter=",", quote='"')
    assert rows == [(2, "1", "a"), (3, "2", "b"), (4, "3", "c, d"), (7, "6", 'say "hi"')]
    assert rejected == [(5, "unclosed_quote"), (6, "after_unclosed_quote")]


def test_without_a_quote_character_quotes_are_plain(tmp_path: Path) -> None:
    assert read(write(tmp_path, 'id\tcode\n1\t"a\n'))[0] == [(2, "1", '"a')]


def test_latin_1(tmp_path: Path) -> None:
    assert read(write(tmp_path, "id\tcode\n1\té\n".encode("latin-1")), encoding="latin-1")[0] == [(2, "1", "é")]


def test_bytes_that_are_no_utf_8_become_replacement_characters(tmp_path: Path) -> None:
    assert read(write(tmp_path, b"id\tcode\n1\t\xe9\n2\tb\n"))[0] == [(2, "1", text.REPLACEMENT), (3, "2", "b")]


def test_files_without_a_header(tmp_path: Path) -> None:
    assert read(write(tmp_path, "1\ta\n2\tb\n"), header=("id", "code"))[0] == [(1, "1", "a"), (2, "2", "b")]


def test_a_missing_column_is_told_with_file_setting_and_header(tmp_path: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"events.txt, line 1: no column 'code' \(records.events\[0\].columns.code\). The header has: id, kode",
    ):
        read(write(tmp_path, "id\tkode\n1\ta\n"))


def test_a_wrong_delimiter_is_guessed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the delimiter may be ','"):
        read(write(tmp_path, "id,code\n1,a\n"))


def test_an_empty_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the file is empty; a header line with id, code was expected"):
        read(write(tmp_path, ""))


def test_no_file_of_a_kind_is_told_with_what_is_there(tmp_path: Path) -> None:
    write(tmp_path, "x")
    with pytest.raises(
        InputError, match=r"no file matches 'obs\*' \(records.events\[0\].files\). It contains: events.txt"
    ):
        files.find(walk(tmp_path), kind("obs*"))


def test_a_header_line_again_is_no_row(tmp_path: Path) -> None:
    content = "id\tcode\n1\ta\nid\tcode\n2\tb\n\ufeffid\tcode\r\n"
    assert read(write(tmp_path, content)) == (
        [(2, "1", "a"), (4, "2", "b")],
        [(3, "repeated_header"), (5, "repeated_header")],
    )
    assert read(write(tmp_path, content.replace("id\tcode\n1", "1")), header=("id", "code"))[1][0] == (
        2,
        "repeated_header",
    )


def test_a_header_with_other_places_is_told_from_a_repeated_one(tmp_path: Path) -> None:
    assert read(write(tmp_path, "id\tcode\n1\ta\ncode\tid\nb\t2\n"))[1] == [(3, text.CHANGED_HEADER)]


def test_a_name_that_stands_twice_is_told_where_it_matters(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1: 2 columns are named 'code' \(records.events\[0\].columns.code\)"):
        read(write(tmp_path, "id\tcode\tcode\n1\ta\tb\n"))
    assert read(write(tmp_path, "id\tcode\tx\tx\n1\ta\t\t\n"))[0] == [(2, "1", "a")]


def test_a_missing_header_is_told_without_showing_the_row(tmp_path: Path) -> None:
    for row in ("4711007\ta", "P4711\ta", "4711007,01/02/2003,b"):
        with pytest.raises(InputError, match=r"looks like a row of data.*records.events\[0\].header") as caught:
            read(write(tmp_path, row + "\n"))
        assert "4711" not in str(caught.value)


def test_nul_bytes_in_the_header_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"line 1: NUL bytes.*encoding to 'utf-16-le'"):
        read(write(tmp_path, "id\tcode\n".encode("utf-16-le")))


def test_a_first_line_without_an_end_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 1: no line end within 131,072 bytes"):
        read(write(tmp_path, "x" * 200_000))


def test_odd_lines_are_rejected_with_their_numbers(tmp_path: Path) -> None:
    content = b"id\tcode\n1\ta\0\n2\tb\n3\tc\rd\n" + b"x" * 200_000 + b"\n4\td\n"
    expected = (
        [(3, "2", "b"), (6, "4", "d")],
        [(2, "nul_byte"), (4, "stray_carriage_return"), (5, "line_too_long")],
    )
    assert read(write(tmp_path, content)) == read(write(tmp_path, gzip.compress(content)), block=50) == expected


def test_utf_16(tmp_path: Path) -> None:
    assert read(write(tmp_path, "id\tcode\r\n1\té\r\n".encode("utf-16")), encoding="utf-16")[0] == [(2, "1", "é")]


def test_a_link_to_nowhere_is_told(tmp_path: Path) -> None:
    write(tmp_path, "x")
    (tmp_path / "events_2.txt").symlink_to(tmp_path / "gone.txt")
    with pytest.raises(InputError, match=r"events_2.txt: the link leads to a file or folder that does not exist"):
        files.find(walk(tmp_path), kind("events*"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("delimiter", value) for value in ("", "ab", "\n", "\0", "§", "1", "x", '"')),
        *(("quote", value) for value in ("ab", "\n", "é", "0", "\t")),
        *(("files", value) for value in ("", ".", "/etc/*", "**a")),
        *(("date_formats", (value,)) for value in ("x", "%d/%m", "%d/%m/%Y %Q", "%d/%m/%Y%", "%%d%%m%%Y")),
        ("header", ("id", "id")),
    ],
)
def test_settings_that_describe_no_text_are_refused(setting: str, value: object) -> None:
    assert list(DelimitedText(**({"files": "*"} | {setting: value})).problems())  # type: ignore[arg-type]


def test_one_character_cannot_quote_and_delimit() -> None:
    assert any("both" in told for told in DelimitedText(files="*", delimiter="|", quote="|").problems())
