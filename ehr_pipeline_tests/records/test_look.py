"""What `ehr-pipeline check` sees in the first rows of files."""

import datetime
import gzip
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from ehr_pipeline import preflight
from ehr_pipeline_tests.conftest import records_settings, tiny_settings
from ehr_pipeline_tests.records.sources.reading import folder as write_folder
from ehr_pipeline_tests.records.sources.reading import parquet
from ehr_pipeline_tests.records.sources.test_cprd_aurum import DRUGS, OBSERVATIONS, PATIENTS, PRACTICES

Landing = Callable[..., Path]
EVENTS = "id\tdate\tcode\n"


def problems(folder: Path, **changes: object) -> list[str]:
    """The problems with the files of an extract."""
    found = preflight.Preflight()
    preflight._extract(folder, records_settings(folder.parent, **changes).kinds, found, into_rows=True)
    return found.problems


def rows(count: int, date: str = "05/03/2001") -> str:
    return f"1\t{date}\t9014002\n" * count


def test_files_in_order(landing: Landing) -> None:
    assert problems(landing(EVENTS + rows(3))) == []


@pytest.mark.parametrize("count", [1, 30_000])
def test_dates_in_another_format_are_told_with_column_and_formats_but_without_a_date(
    landing: Landing, count: int
) -> None:
    (told,) = problems(landing(EVENTS + rows(count, "05.03.2001")))
    assert (
        "events.txt: none of its first rows has a date that can be read in column 'date' (records.events[0].columns.date)"
        in told
    )
    assert "Tried: '%d/%m/%Y', 'iso' (records.events[0].date_formats)" in told
    assert "2001" not in told


def test_years_of_birth_that_are_none_are_told(landing: Landing) -> None:
    (told,) = problems(landing(EVENTS + rows(1), "id\tyear\n1\tfifty\n"))
    assert "a year of birth that can be read in column 'year' (records.patients[0].columns.birth_year)" in told
    assert "fifty" not in told


def test_bad_rows_beside_good_ones_are_no_problem(landing: Landing) -> None:
    folder = landing(EVENTS + rows(50, "05.03.2001") + rows(1) + "ragged\n")
    (folder / "events_2.txt").write_text(EVENTS + rows(2, "nonsense"))
    assert problems(folder) == []
    (folder / "events_3.txt").write_text(EVENTS + rows(10, "nonsense"))
    (told,) = problems(folder)
    assert "events_3.txt" in told


def test_rows_without_a_date_may_stand_first(landing: Landing) -> None:
    assert problems(landing(EVENTS + rows(30_000, "") + rows(1))) == []
    assert "a date that can be read" in problems(landing(EVENTS + rows(5, "")))[0]


def test_lines_that_are_no_rows_are_told_with_the_reason(landing: Landing) -> None:
    (told,) = problems(landing(EVENTS + "1\t05/03/2001\n" * 4))
    assert "events.txt: none of its first rows can be read: with a wrong number of fields (records.events[0])" in told
    assert problems(landing(EVENTS + "x" * 200_000 + "\n" + rows(1))) == []


def test_files_without_a_row_are_told_where_nothing_else_tells_of_events_or_patients(landing: Landing) -> None:
    folder = landing(EVENTS, "id\tyear\n")
    assert [told.partition(": ")[2] for told in problems(folder)] == [
        "the files of events (records.events[0]) hold no row. Copy them again.",
        "the files of patients (records.patients[0]) hold no row. Copy them again.",
    ]
    (folder / "events_2.txt").write_text(EVENTS + rows(1))
    (folder / "patients_2.txt").write_text("id\tyear\n1\t1950\n")
    assert problems(folder) == []


def test_a_cut_off_gzip_file_is_told(landing: Landing) -> None:
    packed = gzip.compress((EVENTS + "".join(f"{n}\t05/03/2001\t{n * 7919}\n" for n in range(3000))).encode())
    (told,) = problems(landing(packed[: len(packed) // 2]))
    assert "events.txt: the gzip stream is damaged or cut off" in told


def test_a_damaged_parquet_file_is_told(landing: Landing) -> None:
    folder = landing(EVENTS + rows(1))
    path = folder / "events_2.parquet"
    ids = [str(number) for number in random.Random(1).sample(range(10**6), 5000)]
    pl.DataFrame({"id": ids, "date": ["2001-01-01"] * 5000, "code": ids}).write_parquet(path)
    assert problems(folder) == []
    damaged = bytearray(path.read_bytes())
    damaged[4:4000] = bytes(3996)
    path.write_bytes(damaged)
    (told,) = problems(folder)
    assert "events_2.parquet: this Parquet file is damaged" in told


def test_a_file_that_cannot_be_read_is_no_file_without_rows(landing: Landing) -> None:
    folder = landing(EVENTS)
    (folder / "events_2.txt").write_bytes(b"PK\x03\x04")
    (told,) = problems(folder)
    assert "zip archive" in told


@pytest.mark.parametrize("source", ["cprd_aurum", "omop", "meds"])
def test_files_of_known_layouts(tmp_path: Path, source: str) -> None:
    extract = write_folder(tmp_path)
    if source == "omop":
        shutil.copytree(Path(__file__).parent / "sources/omop_cdm", extract, dirs_exist_ok=True)
    elif source == "cprd_aurum":
        texts = {"Patient": PATIENTS, "Practice": PRACTICES, "Observation": OBSERVATIONS, "DrugIssue": DRUGS}
        for name, text in texts.items():
            (extract / f"set1_Extract_{name}_001.txt").write_text(text)
    else:
        born, seen = datetime.datetime(1950, 1, 2), datetime.datetime(2001, 3, 5)
        told = {"code": ["GENDER//F", "MEDS_BIRTH", "SNOMED//9014002"], "time": [None, born, seen]}
        parquet(extract / "data/0.parquet", subject_id=[1, 1, 1], **told)
    assert problems(extract, source=source, events=(), patients=()) == []


def test_of_many_extracts_the_newest_are_looked_into(
    extract: Path, landing: Landing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [{"files": "events*", "columns": {"patient": "id", "date": "date", "code": "code"}}]
    patients = [{"files": "patients*", "columns": {"patient": "id", "birth_year": "year"}}]
    for name in ("2019-01-01", "2020-01-01"):
        folder = landing(EVENTS + rows(1, "05.03.2001"), extract=name)
    own = {"landing": str(folder.parent), "events": events, "patients": patients}
    study = tiny_settings(extract, study={"store": str(tmp_path / "store")}, records=own)

    def told() -> list[str]:
        return [problem for problem in preflight.inspect(study).problems if "a date that can be read" in problem]

    assert len(told()) == 2
    monkeypatch.setattr(preflight, "LOOKED_INTO", 1)
    (problem,) = told()
    assert "2020-01-01" in problem
