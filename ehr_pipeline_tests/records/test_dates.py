import datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.records import dates

LATEST = datetime.date(2020, 6, 30)
SENTINELS = ("1900-01-01", "2020-01-05")
FORMATS = ("%d/%m/%Y", "%Y-%m-%d")


def at_once(texts: list[str], formats: tuple[str, ...] = FORMATS) -> list[datetime.date | None]:
    days = dates.days_at_once(pl.Series(texts, dtype=pl.String), formats, SENTINELS, LATEST)
    epoch = datetime.date(1970, 1, 1)
    return [None if day == dates.NEVER else epoch + datetime.timedelta(int(day)) for day in days]


def test_dates_with_all_their_digits() -> None:
    assert at_once(["29/02/2000", "2019-12-31", "01/01/1800", "30/06/2020"]) == [
        datetime.date(2000, 2, 29),
        datetime.date(2019, 12, 31),
        datetime.date(1800, 1, 1),
        LATEST,
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1/2/2003",
        "31/02/2000",
        "45/01/2000",
        "00/01/2000",
        "01/13/2000",
        "01/01/1900",
        "05/01/2020",
        "01/07/2020",
        "01/01/1799",
        "01/01/9999",
        "01-01-2000",
        "01/01/20000",
        "0:/01/2000",
        "01/01/200?",
        " 1/01/2000",
        "2000",
    ],
)
def test_everything_else_is_left_to_be_judged(text: str) -> None:
    assert at_once([text, "02/01/2000"]) == [None, datetime.date(2000, 1, 2)]


def test_formats_that_contradict_each_other_are_left_to_be_judged() -> None:
    both = ("%d/%m/%Y", "%m/%d/%Y")
    assert at_once(["02/03/2000", "02/13/2000"], both) == [None, None]
    assert at_once(["2000-03-02", "02/03/2000"], (*both, "%Y-%m-%d")) == [datetime.date(2000, 3, 2), None]


def test_a_text_is_ambiguous_when_two_formats_read_it_as_different_days() -> None:
    texts = pl.DataFrame({"t": ["02/03/2000", "03/03/2000", "02/13/2000", "13/02/2000", "", "2000-03-02"]})
    both = ("%d/%m/%Y", "%m/%d/%Y", "%Y-%m-%d")
    assert texts.select(dates.ambiguous(pl.col("t"), both)).to_series().to_list() == [True, *[False] * 5]
    assert not texts.with_columns(x=dates.ambiguous(pl.col("t"), FORMATS))["x"].any()


def test_other_shapes() -> None:
    assert at_once(["20000302"], ("%Y%m%d",)) == [datetime.date(2000, 3, 2)]
    assert at_once(["02/03/00"], ("%d/%m/%y",)) == [None]


@given(
    st.lists(
        st.one_of(
            st.dates(datetime.date(1750, 1, 1), datetime.date(2300, 1, 1)).map(lambda d: d.strftime("%d/%m/%Y")),
            st.text("0123456789/- :", max_size=12),
        )
    )
)
def test_the_same_as_one_by_one(texts: list[str]) -> None:
    careful = pl.DataFrame({"t": pl.Series(texts, dtype=pl.String)}).select(dates.parse(pl.col("t"), FORMATS))
    usable = [
        date if date and date <= LATEST and date.isoformat() not in SENTINELS else None
        for date in careful.to_series().to_list()
    ]
    for quick, slow in zip(at_once(texts), usable, strict=True):
        assert quick in (slow, None)
