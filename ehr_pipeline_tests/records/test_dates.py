import datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ehr_pipeline.records import dates
from ehr_pipeline.records.dates import DateRules
from ehr_pipeline.tables import row_keys

LATEST = datetime.date(2020, 6, 30)
SENTINELS = ("1900-01-01", "2020-01-05")
FORMATS = ("%d/%m/%Y", "%Y-%m-%d")


def at_once(texts: list[str], formats: tuple[str, ...] = FORMATS) -> list[datetime.date | None]:
    days = dates.days_of_plain_dates(pl.Series(texts, dtype=pl.String), formats, DateRules(SENTINELS, LATEST))
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


def read(text: str, *formats: str, latest: datetime.date | None = None) -> datetime.date | None:
    day = pl.select(dates.parse(pl.lit(text), formats, latest)).item()
    assert day is None or isinstance(day, datetime.date)
    return day


@pytest.mark.parametrize(
    "text",
    [
        "2021-09-17",
        "20210917",
        "2021-260",
        "2021-W37-5",
        "2021-09-17T11:39:44.913+01:00",
        "2021-09-17 00:00:00",
        "2021-09-17T23:59",
        "2021-09-17T23:59:59Z",
        "2021-09-17 23:59:59.123456 UTC",
        "2021-09-17 23:59:59+00",
        "2021-09-17T11:39:44,5-0530",
        "20210917T113944Z",
        "2021-09-17t24:00",
    ],
)
def test_iso_takes_the_day_of_any_iso_text(text: str) -> None:
    assert read(text, "iso") == datetime.date(2021, 9, 17)
    assert read(text, "%d/%m/%Y", "iso") == datetime.date(2021, 9, 17)


@pytest.mark.parametrize(
    "text",
    [
        "2021",
        "2021-09",
        "202109",
        "2021-13-01",
        "2021-09-17T",
        "2021-09-17T25:00",
        "2021-09-17 11:60",
        "17/09/2021",
        "2021-09-17x",
        "2021-9-W1",
        "",
    ],
)
def test_iso_reads_nothing_else(text: str) -> None:
    assert read(text, "iso") is None


@given(
    st.datetimes(datetime.datetime(1800, 1, 1), datetime.datetime(2499, 12, 31)),
    st.sampled_from(["auto", "hours", "minutes", "seconds", "milliseconds", "microseconds"]),
    st.sampled_from(["T", " "]),
    st.timedeltas(datetime.timedelta(hours=-14), datetime.timedelta(hours=14)) | st.none(),
)
def test_iso_as_python_writes_it(
    moment: datetime.datetime, precision: str, between: str, zone: datetime.timedelta | None
) -> None:
    if zone is not None:
        moment = moment.replace(
            tzinfo=datetime.timezone(datetime.timedelta(minutes=zone // datetime.timedelta(minutes=1)))
        )
    assert read(moment.isoformat(between, precision), "iso") == moment.date()


def test_formats_with_a_time_of_day_stand_beside_others() -> None:
    formats = ("%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%d/%m/%Y %H:%M:%S.%f", "%d/%m/%Y %H:%M%z", "%d-%b-%Y")
    for text in (
        "2003-03-02",
        "2003-03-02 10:11:12",
        "02/03/2003 10:11:12.123",
        "02/03/2003 10:11+0100",
        "02-Mar-2003",
    ):
        assert read(text, *formats) == datetime.date(2003, 3, 2)
    assert read("02/03/2003 10:11+01:00", *formats) == read("02/03/2003 10:11Z", *formats) == datetime.date(2003, 3, 2)
    assert read("02/03/2003 10:11", *formats) is None
    texts = pl.DataFrame({"t": ["2003-03-02 10:11:12", "02/03/2003 10:11+0100"]})
    assert not texts.with_columns(x=dates.ambiguous(pl.col("t"), formats))["x"].any()


def test_iso_and_a_format_that_contradicts_it() -> None:
    formats = ("iso", "%Y-%d-%m")
    texts = pl.DataFrame({"t": ["2003-02-03", "2003-02-02", "2003-02-13"]})
    assert texts.select(dates.ambiguous(pl.col("t"), formats)).to_series().to_list() == [True, False, False]
    assert at_once(["2003-02-03"], formats) == [None]
    assert at_once(["2003-02-03", "20030203"], ("iso",)) == [datetime.date(2003, 2, 3)] * 2


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("05/06/50", datetime.date(1950, 6, 5)),
        ("01/01/20", datetime.date(2020, 1, 1)),
        ("01/07/20", datetime.date(1920, 7, 1)),  # after the extract's last day
        ("29/02/00", datetime.date(2000, 2, 29)),
        ("29/02/48", datetime.date(1948, 2, 29)),
        ("05/06/69", datetime.date(1969, 6, 5)),
    ],
)
def test_a_year_of_two_digits_is_never_in_the_future(text: str, day: datetime.date) -> None:
    assert read(text, "%d/%m/%y", latest=LATEST) == day


def test_a_leap_day_that_the_century_before_did_not_have_is_no_date() -> None:
    assert read("29/02/00", "%d/%m/%y", latest=datetime.date(1999, 1, 1)) is None


@pytest.mark.parametrize(
    ("text", "day", "known"),
    [
        ("2001", datetime.date(2001, 7, 1), "year"),
        ("03/2001", datetime.date(2001, 3, 15), "month"),
        ("3-2001", datetime.date(2001, 3, 15), "month"),
        ("2001-03", datetime.date(2001, 3, 15), "month"),
        ("Mar-2001", datetime.date(2001, 3, 15), "month"),
        ("march 2001", datetime.date(2001, 3, 15), "month"),
        ("13/2001", None, None),
        ("Mai-2001", None, None),
        ("1750", None, None),
        ("01/03/2001", None, None),
        ("", None, None),
    ],
)
def test_dates_without_a_day(text: str, day: datetime.date | None, known: str | None) -> None:
    assert pl.select(*dates.partial(pl.lit(text))).row(0) == (day, known)


def test_the_years_to_2499_are_days() -> None:
    rules = DateRules((), datetime.date(2499, 12, 31))
    days = dates.days_of_plain_dates(pl.Series(["2262-04-11", "2499-12-31"]), ("iso",), rules)
    assert days.astype("datetime64[D]").astype(str).tolist() == ["2262-04-11", "2499-12-31"]
    assert days.max() <= row_keys.LAST_DAY


@pytest.mark.parametrize("text", ["٢٠٢٠-٠١-٠٢", "２０２０", "٠٣/٢٠٢٠", "2020-03-04T0١:02"])
def test_digits_of_other_scripts_are_no_date(text: str) -> None:
    middle, _ = dates.partial(pl.lit(text))
    read = dates.parse(pl.lit(text), ("iso", "%d/%m/%Y"), LATEST)
    assert pl.select(read=read, middle=middle).row(0) == (None, None)
