"""Convert dates in text to days from 1970-01-01: in any form (`parse`), or faster for plain digits (`days_of_plain_dates`)."""

import datetime
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.tables.compiled_loops import compiled

FIRST_YEAR, YEARS = 1800, 700
LAST_YEAR = FIRST_YEAR + YEARS - 1  # packed row keys have room for later days too
ISO = "iso"
"""A format besides those of strftime: the day of any ISO 8601 date, with or without time of day, fraction and zone."""
_ISO_DAYS = {  # calendar dates, extended and basic; ordinal dates; week dates
    "%Y-%m-%d": r"-",
    "%Y%m%d": r"^[0-9]{8}$",
    "%Y-%j": r"^[0-9]{4}-[0-9]{3}$",
    "%G-W%V-%u": r"^[0-9]{4}-W[0-9][0-9]-[0-9]$",
}
_PLAIN_ISO = ("%Y-%m-%d", "%Y%m%d")
_ZONE = r"\s?(?:[Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)"
# A time of day, also as databases write it: with a blank in place of the T, or before the zone.
_TIME = r"[Tt ](?:[01][0-9]|2[0-4])(?::?[0-5][0-9](?::?(?:[0-5][0-9]|60)(?:[.,][0-9]+)?)?)?(?:" + _ZONE + ")?$"
# Dates without a day, or without day and month: patterns with groups for year and month.
_YEAR, _MONTH = (
    r"^(?P<year>[0-9]{4})$",
    (
        r"^(?P<month>[0-9]{1,2})[-/. ](?P<year>[0-9]{4})$",
        r"^(?P<year>[0-9]{4})[-/. ](?P<month>[0-9]{1,2})$",
        r"^(?P<month>[A-Za-z]{3,9})[-/. ](?P<year>[0-9]{4})$",
    ),
)
NEVER = np.int32(-(2**31))
ZERO = ord("0")
_INLINE = 12  # Arrow's string view holds texts of up to 12 bytes in place: 4 bytes of length, then the text
_DIGITS = {"%d": (10, 1), "%m": (1000, 100), "%Y": (10_000_000, 1_000_000, 100_000, 10_000)}


Partial = Literal["reject", "middle"]


@dataclass(frozen=True)
class DateRules:
    """Which dates are accepted, whatever their format."""

    sentinels: tuple[str, ...] = ()
    """Dates (YYYY-MM-DD) that mean 'no date'."""
    latest: datetime.date | None = None
    """The last day of the extract; later dates are in the future."""
    partial: Partial = "reject"
    """What to do with dates without a day: reject them, or read them as the middle of their month or year."""

    @property
    def no_dates(self) -> list[datetime.date]:
        """The dates that mean 'no date'."""
        return [datetime.date.fromisoformat(text) for text in self.sentinels]


def parse(text: pl.Expr, formats: tuple[str, ...], latest: datetime.date | None = None) -> pl.Expr:
    """Parse dates by the first format that fits; null if none fits or the year is before 1800.

    If `latest` is given, a two-digit year ('%y') is read such that the date is not later: '05/06/50' is 1950 in an extract of
    2020.
    """
    return pl.coalesce([_since_1800(_not_after(_read_one(text, form), form, latest)) for form in formats])


def _since_1800(date: pl.Expr) -> pl.Expr:
    """Discard years before 1800: they show that a format read too few digits, as '%d/%m/%Y' does with '05/06/50'."""
    return pl.when(date >= datetime.date(FIRST_YEAR, 1, 1)).then(date)


def _read_one(text: pl.Expr, form: str) -> pl.Expr:
    """Parse dates by one format; null where it does not fit."""
    if form == ISO:
        day = text.str.replace(_TIME, "")
        return pl.coalesce(
            [
                pl.when(day.str.contains(shape)).then(day.str.to_date(day_form, strict=False, exact=True))
                for day_form, shape in _ISO_DAYS.items()
            ]
        )
    form = form.replace(".%f", "%.f").replace("%f", "%.f")  # as polars writes fractions of a second
    if form.endswith("%z"):  # polars accepts only some ways to write a zone; the day does not depend on it
        form = form.removesuffix("%z")
        text = pl.when(text.str.contains(_ZONE + "$")).then(text.str.replace(_ZONE + "$", ""))
    return text.str.to_date(form, strict=False, exact=True)


def _not_after(date: pl.Expr, form: str, latest: datetime.date | None) -> pl.Expr:
    """Move two-digit years in the future back by a century; null for a 29 February that then does not exist."""
    if latest is None or "%y" not in form:
        return date
    before = date.dt.offset_by("-100y")
    before = pl.when(before.dt.day() == date.dt.day()).then(before)
    return pl.when(date > latest).then(before).otherwise(date)


def partial(text: pl.Expr) -> tuple[pl.Expr, pl.Expr]:
    """Read dates without a day, such as '2001', '03/2001', '2001-03' and 'Mar-2001'.

    Returns the middle of the month (the 15th) or of the year (1 July), and the precision: 'month' or 'year'. Both are null for any
    other text, and for years before 1800.
    """
    year = _valid_year(text.str.extract(_YEAR))
    months = []
    for pattern in _MONTH:
        parts = text.str.extract_groups(pattern).struct
        name = parts.field("month")
        first = pl.concat_str(name, pl.lit(" 1 2001"))
        named = [first.str.to_date(form, strict=False).dt.month() for form in ("%b %d %Y", "%B %d %Y")]
        number = pl.coalesce(name.cast(pl.Int8, strict=False), *named)
        known = pl.when(number.is_between(1, 12)).then(number)
        months.append(pl.when(known.is_not_null()).then(pl.date(_valid_year(parts.field("year")), known, 15)))
    month = pl.coalesce(months)
    precision = pl.when(month.is_not_null()).then(pl.lit("month")).when(year.is_not_null()).then(pl.lit("year"))
    return pl.coalesce(month, pl.date(year, 7, 1)), precision


def _valid_year(text: pl.Expr) -> pl.Expr:
    year = text.cast(pl.Int32, strict=False)
    return pl.when(year.is_between(FIRST_YEAR, LAST_YEAR)).then(year)


def ambiguous(text: pl.Expr, formats: tuple[str, ...]) -> pl.Expr:
    """Return whether two of the formats read a text as different days, as '%d/%m/%Y' and '%m/%d/%Y' do with '01/02/2003'."""
    read = {form: _since_1800(_read_one(text, form)) for pair in _conflicts(formats) for form in pair}
    return pl.any_horizontal([pl.lit(False), *((read[a] != read[b]).fill_null(False) for a, b in _conflicts(formats))])


@lru_cache(maxsize=64)
def _conflicts(formats: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of formats that contradict each other: one reads a date written in the other as a different day.

    They are determined by trying some days.
    """
    days = [
        datetime.datetime(2003, 1, 2, 10, 9),
        datetime.datetime(2011, 10, 12, 11),
        datetime.datetime(1912, 12, 11, 1),
    ]
    date = pl.Series([day.date() for day in days])

    def misread(writer: str, reader: str) -> bool:
        for written_form in _ISO_DAYS if writer == ISO else (writer,):
            # Written by Python: without a zone, and without letters that depend on the polars version.
            texts = pl.Series([day.replace(tzinfo=datetime.UTC).strftime(written_form) for day in days])
            read = pl.select(_since_1800(_read_one(pl.lit(texts), reader))).to_series()
            if ((read != date) & read.is_not_null()).any():
                return True
        return False

    return tuple((a, b) for a, b in combinations(formats, 2) if misread(a, b) or misread(b, a))


def days_of_plain_dates(texts: pl.Series, formats: tuple[str, ...], rules: DateRules) -> NDArray[np.int32]:
    """Return the day (n,) of each text (n,) written with all digits, such as '01/02/2003' for '%d/%m/%Y'.

    `NEVER` for what only `parse` can judge: dates written in other ways, texts that are not dates, sentinel dates, dates after the
    latest, and formats that contradict another format.
    """
    view = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    assert view.type == pa.string_view()
    raw = np.frombuffer(view.buffers()[1], np.uint64)[2 * view.offset :][: 2 * len(view)].reshape(-1, 2)
    day = np.full(len(raw), NEVER, np.int32)
    calendar, shapes = _calendar(rules), set()
    contradicted = {form for pair in _conflicts(formats) for form in pair}
    plain = [
        plain_form
        for form in formats
        if form not in contradicted
        for plain_form in (_PLAIN_ISO if form == ISO else (form,))
    ]
    for form in plain:
        shape = _shape(form)
        if shape is None or shape[0] in shapes:  # an earlier format reads these texts
            continue
        shapes.add(shape[0])
        _read(raw, np.frombuffer(shape[0].encode(), np.uint8), shape[1], calendar, day)
    return day


@compiled
def _read(
    views: NDArray[np.uint64],
    picture: NDArray[np.uint8],
    weights: NDArray[np.int32],
    calendar: NDArray[np.int32],
    day: NDArray[np.int32],
) -> None:
    """Write to `day` (n,) the day of each string view (n, 2) that fits the picture: a digit per '0', all else identical."""
    for row in range(len(views)):
        if views[row, 0] & np.uint64(0xFFFFFFFF) != len(picture):
            continue
        fits, number = True, -FIRST_YEAR * 10_000
        for place in range(len(picture)):
            half, shift = (0, 32 + 8 * place) if place < 4 else (1, 8 * (place - 4))
            byte = np.uint8(views[row, half] >> np.uint64(shift))
            if picture[place] == ZERO:
                digit = np.uint8(byte - np.uint8(ZERO))
                number += np.int64(digit) * weights[place]
                if digit > 9:
                    fits = False
            elif byte != picture[place]:
                fits = False
        if fits and 0 <= number < len(calendar):
            day[row] = calendar[number]


def usable_days(days: pl.Series, rules: DateRules) -> NDArray[np.int32]:
    """Return dates (n,) as days; `NEVER` for null, sentinel dates, dates before 1800 and dates after the latest."""
    day = days.to_physical().fill_null(int(NEVER)).to_numpy().astype(np.int32)
    first = np.datetime64(f"{FIRST_YEAR}-01-01").astype(int)
    wrong = (day < first) | (day > np.datetime64(_last(rules)).astype(int))
    wrong |= np.isin(day, np.array(rules.sentinels, "datetime64[D]").astype(np.int64))
    return np.where(wrong, NEVER, day)


def _shape(form: str) -> tuple[str, NDArray[np.int32]] | None:
    """Return the picture of a format, such as '00/00/0000', and the weight of each digit in yyyymmdd; None if dates vary in
    length."""
    picture, weights, rest = "", list[int](), form
    while rest:
        if rest[:2] in _DIGITS:
            digit_weights = _DIGITS[rest[:2]]
            picture, weights, rest = picture + "0" * len(digit_weights), [*weights, *digit_weights], rest[2:]
        elif rest[0] == "%" or rest[0].isalnum() or not rest[0].isascii():
            return None
        else:
            picture, weights, rest = picture + rest[0], [*weights, 0], rest[1:]
    return (picture, np.array(weights, np.int32)) if picture.count("0") == 8 and len(picture) <= _INLINE else None


def _last(rules: DateRules) -> datetime.date:
    """Return the last valid day."""
    return rules.latest or datetime.date(LAST_YEAR, 12, 31)


@lru_cache(maxsize=8)
def _calendar(rules: DateRules) -> NDArray[np.int32]:
    """Return the usable days, indexed by (year - first year) * 10,000 + month * 100 + day; `NEVER` at all other indices."""
    days = np.arange(f"{FIRST_YEAR}-01-01", f"{FIRST_YEAR + YEARS}-01-01", dtype="datetime64[D]")
    usable = (days <= np.datetime64(_last(rules))) & ~np.isin(days, np.array(rules.no_dates, "datetime64[D]"))
    days = days[usable]
    months = days.astype("datetime64[M]")
    years = days.astype("datetime64[Y]").astype(np.int64) + 1970 - FIRST_YEAR
    month = months.astype(np.int64) % 12 + 1
    day_of_month = (days - months).astype(np.int64) + 1
    calendar = np.full(YEARS * 10_000, NEVER, np.int32)
    calendar[years * 10_000 + month * 100 + day_of_month] = days.astype(np.int32)
    return calendar
