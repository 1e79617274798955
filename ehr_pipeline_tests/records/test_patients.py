import datetime

import polars as pl
import pytest

from ehr_pipeline.records import patients
from ehr_pipeline.records.settings import PatientColumns, PatientFiles


def parse(columns: PatientColumns, row: dict[str, str], **more: object) -> tuple[list[tuple[object, ...]], list[str]]:
    files = PatientFiles(files="*", columns=columns, **more)  # type: ignore[arg-type]
    good, rejected = patients.parse(
        pl.DataFrame({"line": [2], **{name: [value] for name, value in row.items()}}),
        files,
        tuple(sorted(files.attributes)),
    )
    return list(good.iter_rows()), rejected["reason"].to_list()


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
    assert parse(columns, {**row, "sex": "9"}, **values)[0][0][3] == ""


def test_one_row_each_whatever_the_order() -> None:
    table = pl.DataFrame({"patient_id": ["2", "1", "2", "2"], "sex": ["M", "F", "F", "F"]})
    for frame in (table, table.reverse()):
        kept, repeated, differing = patients.one_row_each(frame)
        assert list(kept.iter_rows()) == [("1", "F"), ("2", "F")]
        assert (repeated, differing) == (2, 1)


def test_the_earliest_day_of_an_event_depends_on_how_well_the_birth_is_known() -> None:
    births = pl.Series([datetime.date(1950, 7, 1), datetime.date(1950, 3, 15), datetime.date(1950, 3, 20)])
    first = patients.earliest_day(births, pl.Series(["year", "month", "day"]))
    days = [(datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat() for day in first]
    assert days == ["1950-01-01", "1950-03-01", "1950-03-20"]


def test_ids_and_births_that_nobody_can_know() -> None:
    assert parse(YEAR, {"patient": "x" * 101, "birth_year": "1950"})[1] == ["overlong_patient"]
    both = ("%d/%m/%Y", "%m/%d/%Y")
    assert parse(DATE, {"patient": "1", "birth_date": "05/03/1950"}, date_formats=both)[1] == ["ambiguous_birth"]
    assert parse(DATE, {"patient": "1", "birth_date": "25/03/1950"}, date_formats=both)[1] == []


@pytest.mark.parametrize("name", ["patient_id", "birth_date", "sex", "visits", "", " "])
def test_attributes_cannot_take_the_names_of_other_columns(name: str) -> None:
    told = list(PatientFiles(files="*", columns=YEAR, attributes={name: "x"}).problems())
    assert len(told) == 1
    assert "cannot name an attribute" in told[0]
