import datetime

import numpy as np
import polars as pl
import pytest

from ehr_pipeline.records import patients
from ehr_pipeline.records.dates import DateRules
from ehr_pipeline.records.layouts import LinkedFiles, PatientColumns, PatientFiles
from ehr_pipeline.records.values import NOT_UNDERSTOOD


def parse(columns: PatientColumns, row: dict[str, str], **more: object) -> tuple[list[tuple[object, ...]], list[str]]:
    files = PatientFiles(files="*", columns=columns, **more)  # type: ignore[arg-type]
    good, rejected = patients.parse(
        pl.DataFrame({"line": [2], **{name: [value] for name, value in row.items()}}),
        files,
        tuple(sorted(files.attributes)),
    )
    return list(good.drop("line").iter_rows()), rejected["reason"].to_list()


YEAR = PatientColumns(patient="p", birth_year="y")
MONTH = PatientColumns(patient="p", birth_year="y", birth_month="m")
DATE = PatientColumns(patient="p", birth_date="d")


@pytest.mark.parametrize(
    ("columns", "row", "birth", "precision"),
    [
        (YEAR, {"birth_year": "1950"}, "1950-07-01", "year"),
        (MONTH, {"birth_year": "1950", "birth_month": "3"}, "1950-03-15", "month"),
        (MONTH, {"birth_year": "1950", "birth_month": "NA"}, "1950-07-01", "year"),
        (MONTH, {"birth_year": "1950", "birth_month": "13"}, "1950-07-01", "year"),
        (DATE, {"birth_date": "31/12/1950"}, "1950-12-31", "day"),
    ],
)
def test_births(columns: PatientColumns, row: dict[str, str], birth: str, precision: str) -> None:
    assert parse(columns, {"patient": "1", **row})[0] == [("1", datetime.date.fromisoformat(birth), precision, "")]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"patient": "", "birth_year": "1950"}, "missing_patient"),
        ({"patient": "1", "birth_year": ""}, "missing_birth"),
        ({"patient": "1", "birth_year": "195"}, "unparsable_birth"),
        ({"patient": "1", "birth_year": "1750"}, "unparsable_birth"),
    ],
)
def test_reasons(row: dict[str, str], reason: str) -> None:
    assert parse(YEAR, row) == ([], [reason])


def test_sexes_and_attributes() -> None:
    columns = PatientColumns(patient="p", birth_year="y", sex="s")
    row = {"patient": "1", "birth_year": "1950", "sex": "2", "attribute:region": "London"}
    values = {"sex_values": {"1": "M", "2": "F"}, "attributes": {"region": "rgn"}}
    assert parse(columns, row, **values)[0][0][3:] == ("F", "London")
    assert parse(columns, {**row, "sex": "9"}, **values)[0][0][3] == f"{NOT_UNDERSTOOD}9", "counted, then empty"


def test_day_month_and_year_make_a_birth_date_where_there_is_such_a_day() -> None:
    columns = PatientColumns(patient="p", birth_year="y", birth_month="m", birth_day="d")
    for day, born, precision in (
        ("30", "1950-04-30", "day"),
        ("31", "1950-04-15", "month"),
        ("", "1950-04-15", "month"),
    ):
        row = {"patient": "1", "birth_year": "1950", "birth_month": "4", "birth_day": day}
        assert parse(columns, row)[0] == [("1", datetime.date.fromisoformat(born), precision, "")]


def test_a_death_ends_observation_and_is_kept() -> None:
    files = PatientFiles(
        files="*", columns=PatientColumns(patient="p", birth_year="y", observation_ends=("e",), death="d")
    )
    assert files.columns_kept == {"death_date", "observation_end"}
    rows = pl.DataFrame(
        {
            "line": [0, 1, 2, 3],
            "patient": ["1", "2", "3", "4"],
            "birth_year": ["1950"] * 4,
            "observation_ends:0": ["01/01/2015", "01/01/2010", "01/01/2010", ""],
            "death": ["01/01/2014", "01/01/2012", "", "nonsense"],
        }
    )
    good, _ = patients.parse(rows, files, ("death_date", "observation_end"))
    born = pl.col("death_date", "observation_end").dt.year()
    assert good.select(born).rows() == [(2014, 2014), (2012, 2010), (None, 2010), (None, None)]
    assert patients.unusable_dates(rows, files) == 1


def test_observation_ends_with_the_earliest_end_and_sentinels_say_nothing() -> None:
    files = PatientFiles(
        files="*",
        columns=PatientColumns(patient="p", birth_year="y", observation_start="r", observation_ends=("e", "d")),
        linked=(LinkedFiles(files="*", key="k", patient_key="k", attributes={"region": "g"}, observation_ends=("l",)),),
    )
    linked = pl.DataFrame({"key": ["9"], "attribute:region": ["Wales"], "observation_end": [datetime.date(2012, 1, 1)]})
    rows = pl.DataFrame(
        {
            "line": [0, 1, 2],
            "patient": ["1", "2", "3"],
            "birth_year": ["1950"] * 3,
            "observation_start": ["01/02/1999", "01/01/1900", ""],
            "observation_ends:0": ["01/01/2015", "03/04/2010", "nonsense"],
            "observation_ends:1": ["", "01/01/2011", ""],
            "linked:0": ["9", "9", "8"],
        }
    )
    good, _ = patients.parse(
        rows, files, ("observation_end", "observation_start", "region"), (linked,), DateRules(("1900-01-01",))
    )
    assert good.select("observation_start", "observation_end", "region").rows() == [
        (datetime.date(1999, 2, 1), datetime.date(2012, 1, 1), "Wales"),
        (None, datetime.date(2010, 4, 3), "Wales"),
        (None, None, ""),
    ]
    assert patients.unusable_dates(rows, files) == 1


def test_events_outside_the_window_both_ends_belong_to_it() -> None:
    people = pl.DataFrame(
        {"observation_start": [datetime.date(1970, 1, 11), None], "observation_end": [datetime.date(1970, 1, 21), None]}
    )
    day = np.array([9, 10, 20, 21, 9, 99, 5])
    before, after = patients.outside(people, np.array([0, 0, 0, 0, 1, 1, -1]), day, np.array([True] * 6 + [False]))
    assert before.tolist() == [True, False, False, False, False, False, False]
    assert after.tolist() == [False, False, False, True, False, False, False]


def test_the_earliest_day_of_an_event_depends_on_how_well_the_birth_is_known() -> None:
    births = pl.Series([datetime.date(1950, 7, 1), datetime.date(1950, 3, 15), datetime.date(1950, 3, 20)])
    first = patients.earliest_day(births, pl.Series(["year", "month", "day"]))
    days = [(datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat() for day in first.tolist()]
    assert days == ["1950-01-01", "1950-03-01", "1950-03-20"]


def test_ids_and_births_that_nobody_can_know() -> None:
    assert parse(YEAR, {"patient": "x" * 101, "birth_year": "1950"})[1] == ["overlong_patient"]
    both = ("%d/%m/%Y", "%m/%d/%Y")
    assert parse(DATE, {"patient": "1", "birth_date": "05/03/1950"}, date_formats=both)[1] == ["ambiguous_birth"]
    assert parse(DATE, {"patient": "1", "birth_date": "25/03/1950"}, date_formats=both)[1] == []


def test_values_of_joined_tables_and_keys_that_are_no_text_are_counted_by_their_column() -> None:
    bad = "N\ufffdrth"
    rows = pl.DataFrame(
        {"line": [0, 1], "key": [bad, "9"], "attribute:region": [bad, bad], "observation_ends:0": ["", ""]}
    )
    assert patients.undecodable_values(rows, {"key": "pracid", "attribute:region": "rgn"}) == {"pracid": 1, "rgn": 2}
    rows = pl.DataFrame({"line": [0], "patient": [bad], "sex": [bad], "linked:0": [bad]})
    assert patients.undecodable_values(rows, {"patient": "p", "sex": "s", "linked:0": "k"}) == {"s": 1, "k": 1}


@pytest.mark.parametrize("name", ["patient_id", "birth_date", "sex", "visits", "", " "])
def test_attributes_cannot_take_the_names_of_other_columns(name: str) -> None:
    told = list(PatientFiles(files="*", columns=YEAR, attributes={name: "x"}).problems())
    assert len(told) == 1
    assert "cannot be the name of an attribute" in told[0]


RULES = DateRules((), datetime.date(2020, 6, 30))


def births(columns: PatientColumns, rules: DateRules, **more: object) -> list[tuple[object, ...]]:
    """Birth and precision, or the reason, of a patient for each value of a column."""
    (name, values), *others = more.items()
    rows = pl.DataFrame({"line": range(len(values)), "patient": "1", name: values, **dict(others)})  # type: ignore[arg-type]
    formats = ("%d/%m/%y", "%d/%m/%Y")
    files = PatientFiles(files="*", columns=columns, date_formats=formats)
    good, rejected = patients.parse(rows, files, (), rules=rules)
    known = {
        line: (birth, precision)
        for line, birth, precision in good.select("line", "birth_date", "birth_precision").iter_rows()
    }
    known |= {line: (reason,) for line, reason in rejected.select("line", "reason").iter_rows()}
    return [known[line] for line in range(len(values))]  # type: ignore[arg-type]


def test_births_in_the_future_and_without_a_day() -> None:
    values = [
        "05/06/1950",
        "1960",
        "06/1970",
        "05/06/2150",
        "05/06/50",
        "2150",
        "30/06/2020",
        "01/07/2020",
        "31/06/1950",
    ]
    day = datetime.date
    assert births(DATE, RULES, birth_date=values) == [
        (day(1950, 6, 5), "day"),
        ("partial_birth",),
        ("partial_birth",),
        ("future_birth",),
        (day(1950, 6, 5), "day"),
        ("partial_birth",),
        (day(2020, 6, 30), "day"),
        ("future_birth",),
        ("unparsable_birth",),
    ]
    middle = births(DATE, DateRules((), RULES.latest, "middle"), birth_date=values)
    assert middle[1:4] == [(day(1960, 7, 1), "year"), (day(1970, 6, 15), "month"), ("future_birth",)]
    assert middle[5] == ("future_birth",)


def test_a_year_or_month_of_birth_that_has_begun_is_not_in_the_future() -> None:
    assert births(YEAR, RULES, birth_year=["2020", "2021", "1950.0"]) == [
        (datetime.date(2020, 7, 1), "year"),
        ("future_birth",),
        (datetime.date(1950, 7, 1), "year"),
    ]
    assert births(MONTH, RULES, birth_year=["2020", "2020"], birth_month=["6", "7.0"]) == [
        (datetime.date(2020, 6, 15), "month"),
        ("future_birth",),
    ]


def test_months_and_days_of_birth_that_are_none_are_counted() -> None:
    rows = pl.DataFrame({"birth_month": ["5.0", "05", "", "13", "May"], "birth_day": ["6.0", "", "32", "0", "1"]})
    assert patients.unusable_birth_parts(rows) == 4
    assert patients.unusable_birth_parts(rows.select(birth_year="birth_month")) == 0


def test_ids_and_keys_of_linked_tables() -> None:
    assert parse(YEAR, {"patient": "1.20E+14", "birth_year": "1950"}) == ([], ["inexact_number"])
    assert parse(YEAR, {"patient": "7.0", "birth_year": "1950"})[0][0][0] == "7"
    table = LinkedFiles(files="*", key="k", patient_key="k", attributes={"region": "g"})
    rows = pl.DataFrame({"line": [0, 1, 2], "key": ["9.0", "", "1e+05"], "attribute:region": ["Wales", "x", "y"]})
    linked, rejected = patients.parse_linked(rows, table, DateRules())
    assert rejected["reason"].to_list() == ["missing_key", "inexact_number"]
    files = PatientFiles(files="*", columns=YEAR, linked=(table,))
    row = pl.DataFrame({"line": [0], "patient": ["1"], "birth_year": ["1950"], "linked:0": ["9.00"]})
    assert patients.parse(row, files, ("region",), (linked,))[0]["region"].to_list() == ["Wales"]
