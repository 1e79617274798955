import datetime

import polars as pl
import pytest

from ehr_pipeline.records import events
from ehr_pipeline.records.dates import DateRules
from ehr_pipeline.records.layouts import EventColumns, EventFiles
from ehr_pipeline.records.settings import SENTINEL_DATES

COLUMNS = EventColumns(patient="p", date="d", code="c")


def parse(
    patient: str = "1", date: str = "05/03/2001", code: str = "9014002", **layout: object
) -> tuple[list[tuple[object, ...]], list[str]]:
    rows = pl.DataFrame({"line": [2], "patient": [patient], "date": [date], "code": [code]})
    files = EventFiles(files="*", columns=COLUMNS, **layout)  # type: ignore[arg-type]
    good, rejected = events.parse(rows, files, DateRules(SENTINEL_DATES, datetime.date(2019, 4, 1)))
    return list(good.drop("middle").iter_rows()), rejected["reason"].to_list()


def test_a_good_row() -> None:
    assert parse() == ([(2, "1", (datetime.date(2001, 3, 5) - datetime.date(1970, 1, 1)).days, "9014002")], [])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"patient": ""}, "missing_patient"),
        ({"patient": "1\ufffd"}, "undecodable_patient"),
        ({"patient": "9" * 101}, "overlong_patient"),
        ({"code": ""}, "missing_code"),
        ({"code": "1\ufffd"}, "undecodable_code"),
        ({"code": "1.95967E+08"}, "inexact_number"),
        ({"code": "12345"}, None),  # five digits may be a Read code
        ({"code": "H33.."}, None),
        ({"code": "not a code"}, "ill_formed_code"),
        ({"code": "9" * 19}, "ill_formed_code"),
        ({"date": ""}, "missing_date"),
        ({"date": "2001"}, "partial_date"),
        ({"date": "03/2001"}, "partial_date"),
        ({"date": "2001-03"}, "partial_date"),
        ({"date": "31/02/2001"}, "unparsable_date"),
        ({"date": "yesterday"}, "unparsable_date"),
        ({"date": "05/03/0201"}, "unparsable_date"),
        ({"date": "01/01/1900"}, "sentinel_date"),
        ({"date": "31/12/9999"}, "sentinel_date"),
        ({"date": "07/07/2037"}, "sentinel_date"),
        ({"date": "01/04/2019"}, None),
        ({"date": "02/04/2019"}, "future_date"),
        ({"date": "2001-03-05"}, None),
        ({"patient": "", "code": "", "date": ""}, "missing_patient"),  # the first reason that holds
    ],
)
def test_reasons(row: dict[str, str], reason: str | None) -> None:
    good, rejected = parse(**row)
    assert rejected == ([reason] if reason else [])
    assert len(good) == (0 if reason else 1)


def test_local_codes_carry_the_name_of_their_system() -> None:
    assert parse(code="150381000006115", code_system="medcode")[0][0][3] == "medcode:150381000006115"


@pytest.mark.parametrize(
    ("code", "system", "good"),
    [
        ("Diabetes mellitus", "local", "local:Diabetes mellitus"),
        ("ICD10 E11.9", "local", "local:ICD10 E11.9"),
        ("LAB:220 45", "", "LAB:220 45"),
        ("9014002 x", "", None),
        ("9014002 x", "snomed", None),
        ("two\nlines", "local", None),
        ("LAB:two\nlines", "", None),
        ("x " * 60, "local", None),  # a remark
    ],
)
def test_codes_of_other_systems_may_contain_blanks(code: str, system: str, good: str | None) -> None:
    events, rejected = parse(code=code.strip(), code_system=system)
    assert [event[3] for event in events] == ([good] if good else [])
    assert rejected == ([] if good else ["ill_formed_code"])


def test_two_formats_are_read_side_by_side_and_never_guessed_between() -> None:
    both = ("%m/%d/%Y", "%d/%m/%Y")
    fifth_of_march = parse(date="05/03/2001", date_formats=("%d/%m/%Y",))[0][0][2]
    assert parse(date="05-Mar-2001", date_formats=("%d/%m/%Y", "%d-%b-%Y"))[0][0][2] == fifth_of_march
    assert parse(date="03/13/2001", date_formats=both)[0][0][2] == fifth_of_march + 8
    assert parse(date="05/03/2001", date_formats=both) == ([], ["ambiguous_date"])
    assert parse(date="03/03/2001", date_formats=both)[0][0][2] == fifth_of_march - 2, "both say the same day"


@pytest.mark.parametrize(
    ("row", "system", "code"),
    [
        ({"patient": "2.0"}, "snomed", "9014002"),
        ({"code": "9014002.0"}, "snomed", "9014002"),
        ({"code": "317009.0"}, "omop", "omop:317009"),
        ({"code": "25.00"}, "medcodeid", "medcodeid:25"),
        ({"code": "250.0"}, "icd9", "icd9:250.0"),  # 250.0 and 250 are two codes
        ({"code": "1E50"}, "icd11", "icd11:1E50"),
    ],
)
def test_whole_numbers_with_a_fraction_of_zeros(row: dict[str, str], system: str, code: str) -> None:
    good, _ = parse(**row, code_system=system)
    assert good[0][1] == str(row.get("patient", "1")).removesuffix(".0")
    assert good[0][3] == code


@pytest.mark.parametrize("system", ["snomed", "omop", "medcodeid", "anything"])
def test_rounded_ids_are_rejected_in_every_column(system: str) -> None:
    code = "317009"
    assert parse(code="1.2E+14", code_system=system)[1] == ["inexact_number"]
    assert parse(patient="1.2E+14", code=code, code_system=system)[1] == ["inexact_number"]


def test_partial_dates_by_the_setting() -> None:
    rows = pl.DataFrame(
        {"line": [0, 1, 2], "patient": "1", "date": ["2001", "03/2001", "05/03/2001"], "code": "9014002"}
    )
    files = EventFiles(files="*", columns=COLUMNS)
    latest = datetime.date(2019, 4, 1)
    good, rejected = events.parse(rows, files, DateRules((), latest))
    assert (good.height, rejected["reason"].to_list()) == (1, ["partial_date", "partial_date"])
    good, rejected = events.parse(rows, files, DateRules((), latest, "middle"))
    assert good["day"].cast(pl.Date).to_list() == [
        datetime.date(2001, 7, 1),
        datetime.date(2001, 3, 15),
        datetime.date(2001, 3, 5),
    ]
    assert good["middle"].to_list() == [True, True, False]
    assert not rejected.height
