"""Dates as text to days from 1970-01-01: with care, one distinct text at a time; or at once, where all digits are there."""

import datetime
from functools import lru_cache
from itertools import combinations

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.compiled import compiled

FIRST_YEAR, YEARS = 1800, 400
NEVER = np.int32(-(2**31))
ZERO = ord("0")
_INLINE = 12  # Arrow's string view holds texts of up to 12 bytes in place: 4 bytes of length, then the text
_DIGITS = {"%d": (10, 1), "%m": (1000, 100), "%Y": (10_000_000, 1_000_000, 100_000, 10_000)}


def parse(text: pl.Expr, formats: tuple[str, ...]) -> pl.Expr:
    """Dates by the first format that fits; null where none does. Years before 1800 do not count as dates."""
    parsed = pl.coalesce([text.str.to_date(form, strict=False, exact=True) for form in formats])
    return pl.when(parsed >= datetime.date(FIRST_YEAR, 1, 1)).then(parsed)


def ambiguous(text: pl.Expr, formats: tuple[str, ...]) -> pl.Expr:
    """Whether two of the formats read a text as different days: '01/02/2003' with both '%d/%m/%Y' and '%m/%d/%Y'."""
    read = {form: text.str.to_date(form, strict=False, exact=True) for pair in _conflicts(formats) for form in pair}
    return pl.any_horizontal([pl.lit(False), *((read[a] != read[b]).fill_null(False) for a, b in _conflicts(formats))])


@lru_cache(maxsize=64)
def _conflicts(formats: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """The pairs of formats of which one reads what the other wrote as another day: tried, since formats have many shapes."""
    days = pl.Series([datetime.date(2003, 1, 2), datetime.date(2011, 10, 12), datetime.date(1912, 12, 11)])

    def misread(writer: str, reader: str) -> bool:
        found = days.dt.strftime(writer).str.to_date(reader, strict=False, exact=True)
        return bool(((found != days) & found.is_not_null()).any())

    return tuple((a, b) for a, b in combinations(formats, 2) if misread(a, b) or misread(b, a))


def days_at_once(
    texts: pl.Series, formats: tuple[str, ...], sentinels: tuple[str, ...], latest: datetime.date
) -> NDArray[np.int32]:
    """The day (n,) of each text (n,) that is written with all its digits, such as '01/02/2003' for '%d/%m/%Y'.

    `NEVER` where `parse` has to judge: other ways to write a date, no date at all, sentinel dates, dates after `latest`, and
    formats that another one contradicts.
    """
    view = texts.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    assert view.type == pa.string_view()
    raw = np.frombuffer(view.buffers()[1], np.uint64)[2 * view.offset :][: 2 * len(view)].reshape(-1, 2)
    day = np.full(len(raw), NEVER, np.int32)
    calendar, seen = _calendar(sentinels, latest), set()
    contradicted = {form for pair in _conflicts(formats) for form in pair}
    for form in formats:
        shape = None if form in contradicted else _shape(form)
        if shape is None or shape[0] in seen:  # an earlier format reads these texts
            continue
        seen.add(shape[0])
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
    """Fill in the day (n,) of the string views (n, 2) that hold digits where the picture has '0', and else its other signs."""
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


def usable_days(days: pl.Series, sentinels: tuple[str, ...], latest: datetime.date) -> NDArray[np.int32]:
    """Dates (n,) as days; `NEVER` for null, sentinel dates, dates before 1800 and dates after `latest`."""
    day = days.to_physical().fill_null(int(NEVER)).to_numpy().astype(np.int32)
    first = np.datetime64(f"{FIRST_YEAR}-01-01").astype(int)
    wrong = (day < first) | (day > np.datetime64(latest).astype(int))
    wrong |= np.isin(day, np.array(sentinels, "datetime64[D]").astype(np.int64))
    return np.where(wrong, NEVER, day)


def _shape(form: str) -> tuple[str, NDArray[np.int32]] | None:
    """A format as a picture, such as '00/00/0000', and the weight of the digit at each place; None for other formats."""
    picture, weights, rest = "", list[int](), form
    while rest:
        if rest[:2] in _DIGITS:
            own = _DIGITS[rest[:2]]
            picture, weights, rest = picture + "0" * len(own), [*weights, *own], rest[2:]
        elif rest[0] == "%" or rest[0].isalnum() or not rest[0].isascii():
            return None
        else:
            picture, weights, rest = picture + rest[0], [*weights, 0], rest[1:]
    return (picture, np.array(weights, np.int32)) if picture.count("0") == 8 and len(picture) <= _INLINE else None


@lru_cache(maxsize=8)
def _calendar(sentinels: tuple[str, ...], latest: datetime.date) -> NDArray[np.int32]:
    """The day of each year * 10,000 + month * 100 + day, from the first year on; `NEVER` for what is no usable date."""
    days = np.arange(f"{FIRST_YEAR}-01-01", f"{FIRST_YEAR + YEARS}-01-01", dtype="datetime64[D]")
    never = [datetime.date.fromisoformat(text) for text in sentinels]
    usable = (days <= np.datetime64(latest)) & ~np.isin(days, np.array(never, "datetime64[D]"))
    days = days[usable]
    months = days.astype("datetime64[M]")
    years = days.astype("datetime64[Y]").astype(np.int64) + 1970 - FIRST_YEAR
    month = months.astype(np.int64) % 12 + 1
    day_of_month = (days - months).astype(np.int64) + 1
    calendar = np.full(YEARS * 10_000, NEVER, np.int32)
    calendar[years * 10_000 + month * 100 + day_of_month] = days.astype(np.int32)
    return calendar
