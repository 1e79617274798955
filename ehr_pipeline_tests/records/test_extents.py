"""What is lost beside whole rows: lines longer than rows, text that ends within a line, rows of joined tables, columns."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ehr_pipeline.records import build, patients
from ehr_pipeline.records.chunks import LINE_LIMIT
from ehr_pipeline.records.dates import DateRules
from ehr_pipeline.records.layouts import CODE_PATTERNS, LinkedFiles, PatientColumns, PatientFiles
from ehr_pipeline.records.text import Extent
from ehr_pipeline.store.artifacts import Counts
from ehr_pipeline_tests.conftest import records_settings

Landing = Callable[..., Path]
HEADER, ROW = "id\tdate\tcode\n", "1\t01/02/2003\t9014002\n"


def counts(landing: Landing, tmp_path: Path, events: str | bytes, people: str = "", **changes: Any) -> Counts:
    folder = landing(events, people) if people else landing(events)
    (tmp_path / "out").mkdir()
    return build.build(folder, records_settings(folder.parent, **changes), tmp_path / "out")


@pytest.mark.parametrize(
    "lines",
    [
        ROW.replace("\n", "\r") * 50 + "\n",
        "\0" * (len(ROW) * 50) + "\n",
        ROW.replace("\n", "\t") * 50 + "\n",
        "\0" * (2 * LINE_LIMIT) + "\n",
    ],
)
def test_a_line_that_is_no_row_is_weighed_by_its_length(landing: Landing, tmp_path: Path, lines: str) -> None:
    found = counts(landing, tmp_path, HEADER + ROW * 100 + lines)
    assert sum(found["dropped"].values()) == 1
    assert found["like_rows"] == pytest.approx(len(lines) / len(ROW), rel=0.02)


def test_lines_as_long_as_rows_are_not(landing: Landing, tmp_path: Path) -> None:
    found = counts(landing, tmp_path, HEADER + (ROW + "1\t2003\n") * 100)
    assert found["dropped"] == {"wrong_number_of_fields": 100}
    assert "like_rows" not in found


def test_extents_add_up() -> None:
    both = Extent(10, 200, 1, 20) + Extent(5, 100, 1, 400)
    assert both == Extent(15, 300, 2, 420)
    assert both.like_rows == 21
    assert Extent(10, 200, 2, 60).like_rows == Extent().like_rows == 0


@pytest.mark.parametrize("written", [bytes, gzip.compress, lambda data: data.replace(b"\n", b"\r")])
@pytest.mark.parametrize("is_cut", [True, False])
def test_text_that_ends_within_a_line_is_counted(
    landing: Landing, tmp_path: Path, written: Callable[[bytes], bytes], is_cut: bool
) -> None:
    text = (HEADER + ROW * 3).encode()
    found = counts(landing, tmp_path, written(text[:-1] if is_cut else text))
    assert found.get("unended_files", 0) == is_cut
    assert found["kept"] == 3


def test_patients_without_a_row_in_a_joined_table_are_counted() -> None:
    table = pl.DataFrame({"key": ["7", "8"]})
    rows = pl.DataFrame({"patient": list("abcde"), "linked:0": ["7", "8.0", "007", "", "7.0E+3"]})
    assert patients.not_in_table(rows, (table,)) == 3


def test_placeholder_births_are_none() -> None:
    files = PatientFiles(files="*", columns=PatientColumns(patient="p", birth_date="b"))
    rows = pl.DataFrame({"line": [0, 1], "patient": ["1", "2"], "birth_date": ["01/01/1900", "02/01/1900"]})
    good, rejected = patients.parse(rows, files, (), rules=DateRules(("1900-01-01",)))
    assert good["patient_id"].to_list() == ["2"]
    assert rejected["reason"].to_list() == ["sentinel_birth"]
    years = replace(files, columns=PatientColumns(patient="p", birth_year="b"))
    of_year = rows.select("line", "patient", birth_year=pl.lit("1900"))
    assert patients.parse(of_year, years, (), rules=DateRules(("1900-07-01",)))[0].height == 2


def test_columns_without_any_value_are_named(landing: Landing, tmp_path: Path) -> None:
    own = PatientFiles(
        files="patients.txt",
        columns=PatientColumns(patient="id", birth_year="year", sex="sex"),
        attributes={"region": "region"},
        linked=(LinkedFiles(files="none*", key="key", patient_key="id", attributes={"list": "list"}),),
    )
    people = "id\tyear\tsex\tregion\n1\t1950\tunknown\tWales\n2\t1960\t\tNA\n"
    found = counts(landing, tmp_path, HEADER + ROW, people, patients=(own,))
    assert found["patients"]["without_values"] == ["list", "sex"]
    assert (found["patients"]["with_table"], found["patients"]["not_in_table"]) == (2, 2)


def test_digits_of_other_scripts_are_no_code() -> None:
    codes = pl.DataFrame({"code": ["9014002", "٩٠١٤٠٠٢", "H33..00", "H33..٠٠"]})
    assert codes.select(pl.col("code").str.contains(CODE_PATTERNS["snomed"]))["code"].to_list() == [
        True,
        False,
        True,
        False,
    ]
