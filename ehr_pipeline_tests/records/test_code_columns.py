"""Files with several codes in a row, and files with a column for the system of each code."""

from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.errors import InputError
from ehr_pipeline.planning import enough_data
from ehr_pipeline.records import check_first_rows
from ehr_pipeline.records.layouts import EventColumns, EventFiles, PatientColumns, PatientFiles
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline_tests.records.sources.reading import folder, parquet, read, rows

PEOPLE = PatientFiles(files="patients.csv", delimiter=",", columns=PatientColumns(patient="id", birth_year="yob"))
SOME = "id,yob\n1,1950\n2,1960\n"


def described(system: str = "icd10", no_code: tuple[str, ...] = (), **columns: Any) -> dict[str, Any]:
    """Settings for events.csv and patients.csv."""
    own = EventColumns(patient="id", date="date", **columns)
    files = EventFiles(files="events.*", delimiter=",", columns=own, code_system=system, no_code=no_code)
    return {"events": (files,), "patients": (PEOPLE,)}


def test_each_code_of_a_row_is_an_event(tmp_path: Path) -> None:
    text = "id,date,dx1,dx2,dx3\n1,2001-01-01,E11.9,I10,E11.9\n1,2001-01-02,,J45,\n2,2001-01-03,N18,,\n2,2001-01-04,,,NULL\n"
    extract = folder(tmp_path, events__csv=text + "2,,I10,J45,\n", patients__csv=SOME)
    own = described(code="dx1", further_codes=("dx2", "dx3"))
    counts = read(extract, tmp_path / "out", **own)
    assert rows(tmp_path / "out", "events") == [
        ("1", "2001-01-01", "icd10:E11.9"),
        ("1", "2001-01-01", "icd10:E11.9"),
        ("1", "2001-01-01", "icd10:I10"),
        ("1", "2001-01-02", "icd10:J45"),
        ("2", "2001-01-03", "icd10:N18"),
    ]
    assert (counts["rows_in"], counts["dropped"]) == (8, {"missing_code": 1, "missing_date": 2})
    assert {row[1] for row in rows(tmp_path / "out", "quarantine")} == {5, 6}, "lines of the file"


def test_numbers_are_read_too_and_the_word_for_no_code(tmp_path: Path) -> None:
    """Rows of plain numbers take another path where each has one code."""
    extract = folder(tmp_path, patients__csv=SOME)
    parquet(extract / "events.parquet", id=[1, 2], date=["2001-01-01"] * 2, a=[24079001, 0], b=[9014002, 195967001])
    read(extract, tmp_path / "out", **described("snomed", ("0",), code="a", further_codes=("b",)))
    assert [row[2] for row in rows(tmp_path / "out", "events")] == ["24079001", "9014002", "195967001"]


@pytest.mark.parametrize(
    ("system", "values", "codes"),
    [
        ("snomed", ["ICD10CM,E11.9", "SNOMED CT,24079001", "RxNorm Extension,OMOP 1"], ["ICD10CM:E11.9", "24079001"]),
        ("icd", ["9,250.00", "10,E11.9"], ["icd9:250.00", "icd10:E11.9"]),
    ],
)
def test_the_system_of_a_code_may_be_in_a_column(
    tmp_path: Path, system: str, values: list[str], codes: list[str]
) -> None:
    text = "id,date,system,code\n" + "".join(f"1,2001-01-0{day},{value}\n" for day, value in enumerate(values, 1))
    extract = folder(tmp_path, events__csv=text + "2,2001-01-01,,E11.9\n2,2001-01-02,,\n", patients__csv=SOME)
    counts = read(extract, tmp_path / "out", **described(system, code="code", code_system="system"))
    more = ["RxNorm_Extension:OMOP_1", "unnamed:E11.9"] if system == "snomed" else ["icd:E11.9"]
    assert [row[2] for row in rows(tmp_path / "out", "events")] == codes + more
    assert counts["dropped"] == {"missing_code": 1}


def test_equal_codes_of_two_systems_are_two(tmp_path: Path) -> None:
    text = "id,date,system,a,b\n1,2001-01-01,ICD9CM,V10,V11\n1,2001-01-01,ICD10CM,V10,\n"
    extract = folder(tmp_path, events__csv=text, patients__csv=SOME)
    read(extract, tmp_path / "out", **described(code="a", further_codes=("b",), code_system="system"))
    assert {row[2] for row in rows(tmp_path / "out", "events")} == {
        "icd10ICD9CM:V10",
        "icd10ICD9CM:V11",
        "icd10ICD10CM:V10",
    }


def test_check_reads_them_as_the_run_does_and_names_the_setting(tmp_path: Path) -> None:
    extract = folder(tmp_path, events__csv="id,date,dx1,dx2\n1,2001-01-01,E11.9,I10\n", patients__csv=SOME)
    records = RecordsSettings(landing=str(extract.parent), **described(code="dx1", further_codes=("dx2",)))
    (kind,) = records.kinds.events
    assert check_first_rows.first_rows(extract / "events.csv", kind).rows == 2
    study: Any = type("", (), {"records": records})
    held = enough_data.read(study, [extract])
    assert held is not None
    assert held.count()[1].height == 2
    wrong = RecordsSettings(landing=str(extract.parent), **described(code="dx1", further_codes=("dx9",)))
    with pytest.raises(InputError, match=r"'dx9' \(records.events\[0\].columns.further_codes\)"):
        check_first_rows.first_rows(extract / "events.csv", wrong.kinds.events[0])


def test_a_fallback_and_further_codes_exclude_each_other() -> None:
    own = EventColumns(patient="id", date="date", code="a", code_fallback="b", further_codes=("c",))
    assert list(own.problems()) == ["give either code_fallback or further_codes, not both."]
