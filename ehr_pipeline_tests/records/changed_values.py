"""Ways in which exports change what tables say: ids, dates, codes and other values, as spreadsheets and databases write them."""

import datetime
import random
from collections.abc import Callable
from typing import Any

from ehr_pipeline_tests.records.exports import (
    BIRTH,
    CODE,
    DATE,
    ID,
    LEFT,
    PATIENT,
    PRACTICE,
    SEX,
    Tables,
    day,
)

Way = Callable[[Tables], None]


def together(*ways: Way) -> Way:
    """Several ways as one."""

    def way(tables: Tables) -> None:
        for one in ways:
            one(tables)

    return way


def attributes(**values: Any) -> Way:
    """Attributes of the tables, such as how fields are delimited."""

    def way(tables: Tables) -> None:
        for name, value in values.items():
            setattr(tables, name, value)

    return way


def of_settings(**values: Any) -> Way:
    """What the settings say of files of events."""
    return lambda t: t.settings.update(values)


def everywhere(which: str, column: int, change: Callable[[str], str]) -> Way:
    """A column of every row, whatever share of the rows is to be changed."""

    def way(tables: Tables) -> None:
        for row in getattr(tables, which):
            row[column] = change(row[column])

    return way


def _values(which: str, column: int, change: Callable[[str], str]) -> Way:
    return lambda t: t.some(getattr(t, which), column, change)


def _dates(form: str) -> Way:
    """Dates of events in another form."""
    return _values("events", DATE, lambda text: day(text).strftime(form))


def _births(form: str) -> Way:
    return _values("people", BIRTH, lambda text: day(text).strftime(form))


def _serial(text: str) -> str:
    return str((day(text) - datetime.date(1899, 12, 30)).days)


def _excel(text: str) -> str:
    """A number as a spreadsheet keeps it: of fifteen digits."""
    return text[:15] + "0" * (len(text) - 15)


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
    tables.some(tables.people, BIRTH, lambda text: text[:6] + str(tables.rng.randint(2016, 2018)))


IDS: dict[str, Way] = {
    "ids as floats": together(
        everywhere("events", PATIENT, lambda text: f"{text}.0"), everywhere("people", ID, lambda text: f"{text}.0")
    ),
    "ids as floats in events": _values("events", PATIENT, lambda text: f"{text}.0"),
    "ids as decimals in events": _values("events", PATIENT, lambda text: f"{text}.0000000000"),
    "ids rounded": together(
        everywhere("events", PATIENT, lambda text: f"{float(text):.2E}"),
        everywhere("people", ID, lambda text: f"{float(text):.2E}"),
    ),
    "ids rounded in events": _values("events", PATIENT, lambda text: f"{float(text):.2e}"),
    "ids rounded with a decimal comma": together(
        _values("events", PATIENT, lambda text: f"{float(text):.2E}".replace(".", ",")),
        attributes(delimiter=";"),
        of_settings(delimiter=";"),
    ),
    "ids as a spreadsheet keeps them": together(
        everywhere("events", PATIENT, _excel), everywhere("people", ID, _excel)
    ),
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
    "keys missing in patients": everywhere("people", PRACTICE, lambda _: ""),
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
    "American dates": everywhere("events", DATE, lambda text: day(text).strftime("%m/%d/%Y")),
    "dates of ISO, month last": everywhere("events", DATE, lambda text: day(text).strftime("%Y-%d-%m")),
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
    "births with two-digit years": together(
        _births("%d/%m/%y"), lambda t: t.people_settings.update(date_formats=["%d/%m/%y", "%d/%m/%Y"])
    ),
    "births with two-digit years, unknown to the settings": _births("%d/%m/%y"),
    "births, American": everywhere("people", BIRTH, lambda text: day(text).strftime("%m/%d/%Y")),
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
    "codes as a spreadsheet keeps them": everywhere("events", CODE, _excel),
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
    "sex in numbers as floats": together(
        _values("people", SEX, lambda text: {"M": "1.0", "F": "2.0"}[text]),
        lambda t: t.people_settings.update(sex_values={"1": "M", "2": "F"}),
    ),
    "sex with a word": _values("people", SEX, lambda text: f"sex: {text}"),
    "sex that nobody has": everywhere("people", SEX, lambda _: ""),
    "sex unknown of everybody": everywhere("people", SEX, lambda _: "unknown"),
    "ends of observation that nobody has": everywhere("people", LEFT, lambda _: ""),
    "regions that nobody has": lambda t: [row.__setitem__(1, "") for row in t.practices] and None,
}
