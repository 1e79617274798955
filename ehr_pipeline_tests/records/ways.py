"""Ways in which exports change tables (`exports`): by spreadsheets, R, Python, databases, transfers and people."""

import bz2
import datetime
import gzip
import io
import random
import zipfile
from collections.abc import Callable
from typing import Any

import polars as pl

from ehr_pipeline_tests.records.exports import (
    BIRTH,
    CODE,
    DATE,
    ID,
    LEFT,
    NOTE,
    PATIENT,
    PRACTICE,
    SEX,
    Packed,
    Tables,
    day,
)

Way = Callable[[Tables], None]
Pack = Callable[[str, bytes], Packed]
SECOND = "events_2.csv"


def _dates(form: str) -> Way:
    """Dates of events in another form."""
    return _values("events", DATE, lambda text: day(text).strftime(form))


def _births(form: str) -> Way:
    return _values("people", BIRTH, lambda text: day(text).strftime(form))


def _values(which: str, column: int, change: Callable[[str], str]) -> Way:
    return lambda t: t.some(getattr(t, which), column, change)


def _all(which: str, column: int, change: Callable[[str], str]) -> Way:
    """A column of every row, whatever share of the rows is to be changed."""

    def way(tables: Tables) -> None:
        for row in getattr(tables, which):
            row[column] = change(row[column])

    return way


def _set(**values: Any) -> Way:
    def way(tables: Tables) -> None:
        for name, value in values.items():
            setattr(tables, name, value)

    return way


def _text(change: Callable[[list[str]], list[str]]) -> Way:
    """The lines of the files of events, without their ends."""

    def written(text: str) -> str:
        return "\n".join([*change(text.removesuffix("\n").split("\n")), ""])

    return _set(written=written)


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


def _of_settings(**values: Any) -> Way:
    return lambda t: t.settings.update(values)


def _both(*ways: Way) -> Way:
    def way(tables: Tables) -> None:
        for one in ways:
            one(tables)

    return way


def _zip(name: str, data: bytes) -> Packed:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, data)
    return {f"{name.removesuffix('.csv')}.zip": stream.getvalue()}


def _serial(text: str) -> str:
    return str((day(text) - datetime.date(1899, 12, 30)).days)


def _excel(text: str) -> str:
    """A number as a spreadsheet keeps it: of fifteen digits."""
    return text[:15] + "0" * (len(text) - 15)


def _parquet(*which: str, **columns: Callable[[pl.Expr], pl.Expr]) -> Way:
    """Tables as Parquet, some columns with other types."""

    def pack(name: str, data: bytes) -> Packed:
        frame = pl.read_csv(data, infer_schema=False)
        own = [change(pl.col(column)).alias(column) for column, change in columns.items() if column in frame.columns]
        stream = io.BytesIO()
        frame.with_columns(own).write_parquet(stream)
        return {name.replace(".csv", ".parquet"): stream.getvalue()}

    return lambda t: t.packed.update(dict.fromkeys(which, pack))


EVENTS, PEOPLE = ("events_1.csv", SECOND), ("patients.csv",)


def _number(kind: Any) -> Callable[[pl.Expr], pl.Expr]:
    return lambda column: column.cast(pl.Int64).cast(kind)


def _moment(unit: Any, zone: str | None = None) -> Callable[[pl.Expr], pl.Expr]:
    return lambda column: column.str.to_datetime("%d/%m/%Y", time_unit=unit, time_zone=zone)


def _repeat(change: Callable[[list[str], random.Random], list[str]]) -> Way:
    """Second rows of some people, which differ."""

    def way(tables: Tables) -> None:
        more = [change(row[:], tables.rng) for row in tables.people if tables.rng.random() < tables.share]
        tables.people += more

    return way


def _other_birth(row: list[str], rng: random.Random) -> list[str]:
    row[BIRTH] = f"{rng.randint(1, 28):02d}/01/19{rng.randint(20, 29)}"
    return row


def _late_birth(tables: Tables) -> None:
    """Births so late that events lie before them."""
    tables.some(tables.people, BIRTH, lambda text: text[:6] + str(rng_year(tables)))


def rng_year(tables: Tables) -> int:
    """A year after most events."""
    return tables.rng.randint(2016, 2018)


IDS: dict[str, Way] = {
    "ids as floats": _both(
        _all("events", PATIENT, lambda text: f"{text}.0"), _all("people", ID, lambda text: f"{text}.0")
    ),
    "ids as floats in events": _values("events", PATIENT, lambda text: f"{text}.0"),
    "ids as decimals in events": _values("events", PATIENT, lambda text: f"{text}.0000000000"),
    "ids rounded": _both(
        _all("events", PATIENT, lambda text: f"{float(text):.2E}"),
        _all("people", ID, lambda text: f"{float(text):.2E}"),
    ),
    "ids rounded in events": _values("events", PATIENT, lambda text: f"{float(text):.2e}"),
    "ids rounded with a decimal comma": _both(
        _values("events", PATIENT, lambda text: f"{float(text):.2E}".replace(".", ",")),
        _set(delimiter=";"),
        _of_settings(delimiter=";"),
    ),
    "ids as a spreadsheet keeps them": _both(_all("events", PATIENT, _excel), _all("people", ID, _excel)),
    "ids as a spreadsheet keeps them in events": _values("events", PATIENT, _excel),
    "ids padded in events": _values("events", PATIENT, lambda text: text.zfill(19)),
    "ids with thousands separators in events": _values(
        "events", PATIENT, lambda text: f"{int(text):,}".replace(",", ".")
    ),
    "ids with blanks": _values("events", PATIENT, lambda text: f"\u00a0{text}  "),
    "ids with an apostrophe in events": _values("events", PATIENT, lambda text: f"'{text}"),
    "ids as formulas in events": _values("events", PATIENT, lambda text: f'="{text}"'),
    "ids masked in events": _values("events", PATIENT, lambda text: "*" * len(text)),
    "ids missing": _values("events", PATIENT, lambda _: "NULL"),
    "ids of another column": lambda t: t.events_header.__setitem__(slice(None), ["note", "date", "code", "id"]),
    "patients missing": lambda t: t.people.__delitem__(slice(int(len(t.people) * (1 - t.share / 2)), None)),
    "keys padded in the joined table": lambda t: t.some(t.practices, 0, lambda text: text.zfill(8)),
    "keys as floats in patients": _values("people", PRACTICE, lambda text: f"{text}.0"),
    "keys rounded in patients": _values("people", PRACTICE, lambda text: f"{float(text):.1E}"),
    "keys missing in patients": _all("people", PRACTICE, lambda _: ""),
    "rows of the joined table missing": lambda t: t.practices.__delitem__(slice(3, None)),
}
DATES: dict[str, Way] = {
    "dates of ISO": _dates("%Y-%m-%d"),
    "dates of ISO without dashes": _dates("%Y%m%d"),
    "dates of ISO in weeks": _dates("%G-W%V-%u"),
    "days of the year": _dates("%Y-%j"),
    "time stamps": _dates("%Y-%m-%dT10:11:12.123+01:00"),
    "time stamps of a database": _dates("%Y-%m-%d 10:11:12.1234567 +00:00"),
    "midnights": _dates("%Y-%m-%d 00:00:00"),
    "midnights at the end": _dates("%Y-%m-%dT24:00:00"),
    "times of the clock of twelve": _dates("%d/%m/%Y 12:00:00 AM"),
    "times alone": _dates("10:11"),
    "dates without zeros": _values("events", DATE, lambda text: "/".join(part.lstrip("0") for part in text.split("/"))),
    "two-digit years": _dates("%d/%m/%y"),
    "two-digit years of ISO": _dates("%y-%m-%d"),
    "American dates": _all("events", DATE, lambda text: day(text).strftime("%m/%d/%Y")),
    "dates of ISO, month last": _all("events", DATE, lambda text: day(text).strftime("%Y-%d-%m")),
    "German dates": _dates("%d.%m.%Y"),
    "dates with dashes": _dates("%d-%m-%Y"),
    "dates with slashes, year first": _dates("%Y/%m/%d"),
    "dates with names of months": _dates("%d-%b-%Y"),
    "dates with German names of months": _values(
        "events",
        DATE,
        lambda text: f"{text[:2]}. {['Januar', 'März', 'Mai', 'Dezember'][int(text[3:5]) % 4]} {text[6:]}",
    ),
    "dates with ordinal numbers": _dates("%dth %B %Y"),
    "dates of SAS": _dates("%d%b%Y:00:00:00"),
    "days and months glued": _dates("%d%m%Y"),
    "months alone": _dates("%m/%Y"),
    "years alone": _dates("%Y"),
    "quarters": _dates("%Y-Q1"),
    "serial numbers of Excel": _values("events", DATE, _serial),
    "serial numbers with a time": _values("events", DATE, lambda text: f"{_serial(text)}.5"),
    "seconds since 1970": _dates("%s"),
    "dates as a date format": _values("events", DATE, lambda _: "########"),
    "dates of the calendar of Thailand": _values("events", DATE, lambda text: f"{text[:6]}{int(text[6:]) + 543}"),
    "dates with the year lost": _values("events", DATE, lambda text: f"{text[:6]}00{text[8:]}"),
    "dates missing": _values("events", DATE, lambda _: "NA"),
    "dates that stand for none": _values("events", DATE, lambda _: "01/01/1900"),
    "dates of zeros": _values("events", DATE, lambda _: "00/00/0000"),
    "dates in other years than exist": _values("events", DATE, lambda text: f"{text[:6]}9999"),
    "births as time stamps": _births("%Y-%m-%d 00:00:00"),
    "births with two-digit years": _both(
        _births("%d/%m/%y"), lambda t: t.people_settings.update(date_formats=["%d/%m/%y", "%d/%m/%Y"])
    ),
    "births with two-digit years, unknown to the settings": _births("%d/%m/%y"),
    "births, American": _all("people", BIRTH, lambda text: day(text).strftime("%m/%d/%Y")),
    "births in years alone": _births("%Y"),
    "births in years as floats": _births("%Y.0"),
    "births in the future": _values("people", BIRTH, lambda text: text[:6] + "2150"),
    "births after events": _late_birth,
    "births missing": _values("people", BIRTH, lambda _: "NaN"),
    "births that stand for none": _values("people", BIRTH, lambda _: "01/01/1900"),
    "births of a patient that differ": _repeat(_other_birth),
    "ends of observation in another form": _values("people", LEFT, lambda text: text.replace("/", ".")),
    "ends of observation as words": _values("people", LEFT, lambda text: "still here"),
    "ends of observation as serial numbers": _values("people", LEFT, lambda text: _serial(text)),
}
VALUES: dict[str, Way] = {
    "codes as floats": _values("events", CODE, lambda text: f"{text}.0"),
    "codes rounded": _values("events", CODE, lambda text: f"{float(text):.2E}"),
    "codes as a spreadsheet keeps them": _all("events", CODE, _excel),
    "codes with an apostrophe": _values("events", CODE, lambda text: f"'{text}"),
    "codes as formulas": _values("events", CODE, lambda text: f'="{text}"'),
    "codes missing": _values("events", CODE, lambda _: "None"),
    "codes with blanks": _values("events", CODE, lambda text: f"  {text} "),
    "codes with an invisible blank": _values("events", CODE, lambda text: f"\u200b{text}"),
    "codes with their terms": _values("events", CODE, lambda text: f"{text} |Term|"),
    "codes with their system": _values("events", CODE, lambda text: f"SCT:{text}"),
    "several codes in a field": _values("events", CODE, lambda text: f"{text};{text}"),
    "codes with thousands separators": _values("events", CODE, lambda text: f"{int(text):,}".replace(",", " ")),
    "codes in other digits": _values(
        "events", CODE, lambda text: text.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩"))
    ),
    "terms in place of codes": _values("events", CODE, lambda _: "Psoriasis vulgaris"),
    "sex in words": _values("people", SEX, lambda text: {"M": "Male", "F": "female"}[text]),
    "sex in small letters": _values("people", SEX, str.lower),
    "sex with blanks": _values("people", SEX, lambda text: f" {text}\u00a0"),
    "sex in other letters": _values("people", SEX, lambda text: {"M": "H", "F": "D"}[text]),
    "sex in unmapped numbers": _values("people", SEX, lambda text: {"M": "7", "F": "8"}[text]),
    "sex in numbers as floats": _both(
        _values("people", SEX, lambda text: {"M": "1.0", "F": "2.0"}[text]),
        lambda t: t.people_settings.update(sex_values={"1": "M", "2": "F"}),
    ),
    "sex with a word": _values("people", SEX, lambda text: f"sex: {text}"),
    "sex that nobody has": _all("people", SEX, lambda _: ""),
    "sex unknown of everybody": _all("people", SEX, lambda _: "unknown"),
    "ends of observation that nobody has": _all("people", LEFT, lambda _: ""),
    "regions that nobody has": lambda t: [row.__setitem__(1, "") for row in t.practices] and None,
}


def _latin(tables: Tables) -> None:
    _notes("Ménière", quoted=False)(tables)
    tables.encoding = "latin-1"


WRITTEN: dict[str, Way] = {
    "as it is": lambda t: None,
    "everything quoted, as the settings say": _both(_set(field_written=_quoted), _of_settings(quote='"')),
    "everything quoted, unknown to the settings": _set(field_written=_quoted),
    "everything in single quotes": _set(field_written=lambda text: f"'{text}'"),
    "quotes that nobody writes": _of_settings(quote='"'),
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
    "line ends of Windows": _set(written=lambda text: text.replace("\n", "\r\n")),
    "line ends of old Macs": _set(written=lambda text: text.replace("\n", "\r")),
    "line ends of two systems": _set(
        written=lambda text: text[: len(text) // 2].replace("\n", "\r") + text[len(text) // 2 :]
    ),
    "line ends of three systems": _set(
        written=lambda text: text.replace("\n", "\r", text.count("\n") // 3).replace(
            "\n", "\r\n", text.count("\n") // 3
        )
    ),
    "semicolons": _set(delimiter=";"),
    "tabs": _set(delimiter="\t"),
    "blanks between columns": _set(delimiter="  "),
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
    "no newline at the end": _set(written=lambda text: text.rstrip("\n")),
    "empty lines": _text(lambda lines: [own for line in lines for own in (line, "")]),
    "lines of delimiters": _text(lambda lines: [*lines, *[",,,"] * 50]),
    "zeros in place of rows": _set(
        written=lambda text: text[: len(text) // 2] + "\0" * (len(text) // 4) + text[len(text) * 3 // 4 :]
    ),
    "Latin 1": _latin,
    "Latin 1 in quotes": _both(_latin, _set(field_written=_quoted), _of_settings(quote='"')),
    "UTF-16": _set(encoding="utf-16"),
    "UTF-16 without a mark": _set(encoding="utf-16-le"),
    "UTF-16, as the settings say": _both(_set(encoding="utf-16"), _of_settings(encoding="utf-16")),
    "a mark of byte order": _set(written=lambda text: "\ufeff" + text),
    "marks of byte order in the middle": _text(lambda lines: [*lines[:90], "\ufeff" + lines[0], *lines[90:]]),
}


def _turned(line: str) -> str:
    """A line of events with its first three fields turned round."""
    fields = line.split(",", 3)
    return ",".join((*fields[2::-1], *fields[3:]))


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
    "short codes as short floats of Parquet": _both(
        _all("events", CODE, lambda text: text[:9]), _parquet(*EVENTS, code=_number(pl.Float32))
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
GROUPS = (WRITTEN, IDS, DATES, VALUES, FILES, PARQUET)
WAYS: dict[str, Way] = {name: way for group in GROUPS for name, way in group.items()}


def chosen(rng: random.Random) -> dict[str, Way]:
    """One or two ways by chance: two change different things, and Parquet, whose columns must still have types, comes alone."""
    group = rng.choices(GROUPS, [len(one) for one in GROUPS])[0]
    names = [rng.choice(sorted(group))]
    if group is not PARQUET and rng.random() < 0.3:
        other = rng.choice([one for one in GROUPS if one is not PARQUET and one is not group])
        names.append(rng.choice(sorted(other)))
    return {name: WAYS[name] for name in names}
