"""Ways in which exports change how tables are written down: lines, quotes, encodings, names of files, archives, Parquet."""

import bz2
import gzip
import io
import zipfile
from collections.abc import Callable
from typing import Any

import polars as pl

from ehr_pipeline_tests.records.changed_values import Way, attributes, everywhere, of_settings, together
from ehr_pipeline_tests.records.exports import CODE, NOTE, Packed, Tables

Pack = Callable[[str, bytes], Packed]
SECOND = "events_2.csv"
EVENTS, PEOPLE = ("events_1.csv", SECOND), ("patients.csv",)


def _text(change: Callable[[list[str]], list[str]]) -> Way:
    """The lines of the files of events, without their ends."""

    def written(text: str) -> str:
        return "\n".join([*change(text.removesuffix("\n").split("\n")), ""])

    return attributes(written=written)


def _quoted(text: str) -> str:
    return f'"{text}"'


def _notes(text: str, *, quoted: bool) -> Way:
    """Free text in some rows, in quotes that the settings name, or without."""

    def way(tables: Tables) -> None:
        if quoted:
            tables.settings["quote"] = '"'
        tables.some(tables.events, NOTE, lambda _: _quoted(text) if quoted else text)

    return way


def _packed(name: str, pack: Pack) -> Way:
    return lambda t: t.packed.update({name: pack})


def _named(name: str) -> Way:
    """The second file of events under another name."""
    return _packed(SECOND, lambda _, data: {name: data})


def _beside(name: str, content: Callable[[bytes], bytes]) -> Way:
    """Another file beside the second one of events."""
    return _packed(SECOND, lambda own, data: {own: data, name: content(data)})


def _cut(data: bytes) -> bytes:
    """What a transfer that broke off leaves: not by chance whole rows, which nobody could tell from a shorter table."""
    end = len(data) * 3 // 5
    return data[: end + 1 if data[end - 1 : end] == b"\n" else end]


def _zip(name: str, data: bytes) -> Packed:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, data)
    return {f"{name.removesuffix('.csv')}.zip": stream.getvalue()}


def _parquet(*which: str, **columns: Callable[[pl.Expr], pl.Expr]) -> Way:
    """Tables as Parquet, some columns with other types."""

    def pack(name: str, data: bytes) -> Packed:
        frame = pl.read_csv(data, infer_schema=False)
        own = [change(pl.col(column)).alias(column) for column, change in columns.items() if column in frame.columns]
        stream = io.BytesIO()
        frame.with_columns(own).write_parquet(stream)
        return {name.replace(".csv", ".parquet"): stream.getvalue()}

    return lambda t: t.packed.update(dict.fromkeys(which, pack))


def _number(kind: Any) -> Callable[[pl.Expr], pl.Expr]:
    return lambda column: column.cast(pl.Int64).cast(kind)


def _moment(unit: Any, zone: str | None = None) -> Callable[[pl.Expr], pl.Expr]:
    return lambda column: column.str.to_datetime("%d/%m/%Y", time_unit=unit, time_zone=zone)


def _latin(tables: Tables) -> None:
    _notes("Ménière", quoted=False)(tables)
    tables.encoding = "latin-1"


def _turned(line: str) -> str:
    """A line of events with its first three fields turned round."""
    fields = line.split(",", 3)
    return ",".join((*fields[2::-1], *fields[3:]))


WRITTEN: dict[str, Way] = {
    "as it is": lambda t: None,
    "everything quoted, as the settings say": together(attributes(field_written=_quoted), of_settings(quote='"')),
    "everything quoted, unknown to the settings": attributes(field_written=_quoted),
    "everything in single quotes": attributes(field_written=lambda text: f"'{text}'"),
    "quotes that nobody writes": of_settings(quote='"'),
    "quoted line breaks": _notes("first\nsecond,line\n17,01/01/2010,73211009,x", quoted=True),
    "quoted delimiters": _notes('a, b and ""c""', quoted=True),
    "quotes with backslashes": _notes('a, b and \\"c\\"', quoted=True),
    "delimiters in free text": _notes("a, b, c", quoted=False),
    "line breaks in free text": _notes("first\nsecond", quoted=False),
    "returns in free text": _notes("first\rsecond", quoted=False),
    "quotes in free text": _notes('says "ouch', quoted=False),
    "lone quotes in quoted text": _notes('6"', quoted=True),
    "quotes that open and do not close": lambda t: (
        t.settings.update(quote='"'),
        t.some(t.events, NOTE, lambda _: '"never closed'),
    )[0],
    "line ends of Windows": attributes(written=lambda text: text.replace("\n", "\r\n")),
    "line ends of old Macs": attributes(written=lambda text: text.replace("\n", "\r")),
    "line ends of two systems": attributes(
        written=lambda text: text[: len(text) // 2].replace("\n", "\r") + text[len(text) // 2 :]
    ),
    "line ends of three systems": attributes(
        written=lambda text: text.replace("\n", "\r", text.count("\n") // 3).replace(
            "\n", "\r\n", text.count("\n") // 3
        )
    ),
    "semicolons": attributes(delimiter=";"),
    "tabs": attributes(delimiter="\t"),
    "blanks between columns": attributes(delimiter="  "),
    "row names of R": _text(lambda lines: [lines[0], *(f"{n},{line}" for n, line in enumerate(lines[1:]))]),
    "row names with a header": _text(lambda lines: [f"{n or ''},{line}" for n, line in enumerate(lines)]),
    "a delimiter at the end": _text(lambda lines: [f"{line}," for line in lines]),
    "a delimiter at the end of rows": _text(lambda lines: [lines[0], *(f"{line}," for line in lines[1:])]),
    "a quoted header": _text(lambda lines: [",".join(map(_quoted, lines[0].split(","))), *lines[1:]]),
    "a header in capitals": _text(lambda lines: [lines[0].upper(), *lines[1:]]),
    "no header": _text(lambda lines: lines[1:]),
    "a column twice": _text(lambda lines: [f"{line},{line.split(',')[1]}" for line in lines]),
    "a title above the header": _text(lambda lines: ["Events of 2020", "", *lines]),
    "the delimiter above the header": _text(lambda lines: ["sep=,", *lines]),
    "a line below the header": _text(lambda lines: [lines[0], "---,---,---,---", *lines[1:]]),
    "a count below the rows": _text(lambda lines: [*lines, "", f"({len(lines) - 1} rows affected)"]),
    "headers in the middle": _text(lambda lines: [*lines[:90], lines[0], *lines[90:]]),
    "other headers in the middle": _text(
        lambda lines: [*lines[:90], "code,date,id,note", *(_turned(line) for line in lines[90:])]
    ),
    "headers of other names in the middle": _text(
        lambda lines: [*lines[:90], "concept,day,person,text", *(_turned(line) for line in lines[90:])]
    ),
    "headers of more columns in the middle": _text(
        lambda lines: [*lines[:90], f"{lines[0]},x", *(f"{line},1" for line in lines[90:])]
    ),
    "files glued without a line end": _text(lambda lines: [*lines[:90], lines[90] + lines[0], *lines[91:]]),
    "rows on one line": _text(lambda lines: [*lines[:90], ",".join(lines[90:])]),
    "no newline at the end": attributes(written=lambda text: text.rstrip("\n")),
    "empty lines": _text(lambda lines: [own for line in lines for own in (line, "")]),
    "lines of delimiters": _text(lambda lines: [*lines, *[",,,"] * 50]),
    "zeros in place of rows": attributes(
        written=lambda text: text[: len(text) // 2] + "\0" * (len(text) // 4) + text[len(text) * 3 // 4 :]
    ),
    "Latin 1": _latin,
    "Latin 1 in quotes": together(_latin, attributes(field_written=_quoted), of_settings(quote='"')),
    "UTF-16": attributes(encoding="utf-16"),
    "UTF-16 without a mark": attributes(encoding="utf-16-le"),
    "UTF-16, as the settings say": together(attributes(encoding="utf-16"), of_settings(encoding="utf-16")),
    "a mark of byte order": attributes(written=lambda text: "\ufeff" + text),
    "marks of byte order in the middle": _text(lambda lines: [*lines[:90], "\ufeff" + lines[0], *lines[90:]]),
}
FILES: dict[str, Way] = {
    "gzip": _packed(SECOND, lambda name, data: {f"{name}.gz": gzip.compress(data, mtime=0)}),
    "gzip without its ending": _packed(SECOND, lambda name, data: {name: gzip.compress(data, mtime=0)}),
    "gzip cut off": _packed(SECOND, lambda name, data: {f"{name}.gz": _cut(gzip.compress(data, mtime=0))}),
    "gzip of a cut file": _packed(SECOND, lambda name, data: {f"{name}.gz": gzip.compress(_cut(data), mtime=0)}),
    "gzip of several parts": _packed(
        SECOND,
        lambda name, data: {
            f"{name}.gz": gzip.compress(data[: len(data) // 2], mtime=0)
            + gzip.compress(data[len(data) // 2 :], mtime=0)
        },
    ),
    "called gzip": _packed(SECOND, lambda name, data: {f"{name}.gz": data}),
    "bzip2": _packed(SECOND, lambda name, data: {f"{name}.bz2": bz2.compress(data)}),
    "a zip": _packed(SECOND, _zip),
    "a zip of everything": _packed(SECOND, lambda name, data: {"Extract.zip": _zip(name, data)["events_2.zip"]}),
    "a zip called CSV": _packed(SECOND, lambda name, data: {name: _zip(name, data)["events_2.zip"]}),
    "other spelling": _named("Events_2.CSV"),
    "another ending": _named("events_2.dat"),
    "no ending": _named("events_2"),
    "a copy's name": _named("Copy of events_2.csv"),
    "a folder of parts": _named("events_2.csv/part-00000.csv"),
    "a folder": _named("events/events_2.csv"),
    "a hidden folder": _named(".events/events_2.csv"),
    "a file of a transfer that is hidden": _named(".events_2.csv.Qx71bA"),
    "a hidden file": _named(".events_2.csv"),
    "a copy that is not finished": _packed(SECOND, lambda name, data: {f"{name}.part": _cut(data)}),
    "a file of a transfer": _packed(SECOND, lambda name, data: {f"{name}.tmp": _cut(data)}),
    "a backup of a file": _beside(f"{SECOND}.bak", _cut),
    "the same file twice": _beside("events_2 (1).csv", bytes),
    "a hidden copy": _beside(f"._{SECOND}", lambda _: b"\0\5\x16\7Mac OS X"),
    "a hidden half": _beside(f".{SECOND}", _cut),
    "a readme": _beside("README.txt", lambda _: b"Read me"),
    "a file that was cut": _packed(SECOND, lambda name, data: {name: _cut(data)}),
    "a file that was cut between rows": _packed(
        SECOND, lambda name, data: {name: data[: data.rfind(b"\n", 0, len(data) // 2)]}
    ),
    "patients that were cut": _packed("patients.csv", lambda name, data: {name: _cut(data)}),
    "an empty file": _packed(SECOND, lambda name, data: {name: b""}),
    "a header alone": _packed(SECOND, lambda name, data: {name: data[: data.find(b"\n") + 1]}),
    "no joined table": _packed("practices.csv", lambda name, data: {}),
    "no patients": _packed("patients.csv", lambda name, data: {}),
}
PARQUET: dict[str, Way] = {
    "texts of Parquet": _parquet(*EVENTS),
    "Parquet called CSV": _packed(SECOND, lambda name, data: {name: b"PAR1" + data}),
    "numbers of Parquet": _parquet(*EVENTS, *PEOPLE, id=_number(pl.Int64), code=_number(pl.Int64)),
    "unsigned numbers of Parquet": _parquet(*EVENTS, *PEOPLE, id=_number(pl.UInt64), code=_number(pl.UInt64)),
    "decimals of Parquet": _parquet(*EVENTS, *PEOPLE, id=_number(pl.Decimal(38, 10)), code=_number(pl.Decimal(38, 0))),
    "floats of Parquet": _parquet(*EVENTS, id=_number(pl.Float64), code=_number(pl.Float64)),
    "floats of Parquet in patients": _parquet(*PEOPLE, id=_number(pl.Float64)),
    "short floats of Parquet": _parquet(*EVENTS, *PEOPLE, id=_number(pl.Float32)),
    "short floats of Parquet in patients": _parquet(*PEOPLE, id=_number(pl.Float32)),
    "codes as short floats of Parquet": _parquet(*EVENTS, code=_number(pl.Float32)),
    "short codes as short floats of Parquet": together(
        everywhere("events", CODE, lambda text: text[:9]), _parquet(*EVENTS, code=_number(pl.Float32))
    ),
    "categories of Parquet": _parquet(
        *EVENTS, *PEOPLE, **dict.fromkeys(("id", "code", "sex", "date"), lambda column: column.cast(pl.Categorical))
    ),
    "bytes of Parquet": _parquet(
        *EVENTS, **dict.fromkeys(("id", "code", "date"), lambda column: column.cast(pl.Binary))
    ),
    "days of Parquet": _parquet(*EVENTS, *PEOPLE, date=lambda c: c.str.to_date("%d/%m/%Y"), birth=_moment("ms")),
    "nanoseconds of Parquet": _parquet(*EVENTS, *PEOPLE, date=_moment("ns"), birth=_moment("ns")),
    "zones of Parquet": _parquet(*EVENTS, *PEOPLE, date=_moment("us", "Europe/Berlin"), birth=_moment("us", "UTC")),
    "whole numbers as dates of Parquet": _parquet(
        *EVENTS, date=lambda column: column.str.to_date("%d/%m/%Y").dt.strftime("%Y%m%d").cast(pl.Int32)
    ),
    "a sex of Parquet as a truth": _parquet(*PEOPLE, sex=lambda column: column == "M"),
    "a column of nothing in Parquet": _parquet(*PEOPLE, sex=lambda column: pl.lit(None)),
    "lists in Parquet": _parquet(*EVENTS, code=lambda column: pl.concat_list(column)),
}
