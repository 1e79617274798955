"""`check` tells of patients whose rows contradict each other, as far as it reads the patient files."""

from pathlib import Path

import pytest

from ehr_pipeline.planning import differing_rows
from ehr_pipeline.planning.findings import Preflight
from ehr_pipeline_tests.planning.test_enough_data import study

TABLE = {
    "files": "patients*.csv",
    "delimiter": ",",
    "columns": {"patient": "patient", "birth_year": "yob", "sex": "sex"},
    "attributes": {"practice": "practice"},
}


def warnings(folder: Path, *files: list[str], problem: str = "") -> list[str]:
    """What is told of patient files with these rows."""
    made = study(folder, records={"patients": [TABLE]})
    extract = folder / "landing/2024-01-01"
    for number, rows in enumerate(files):
        (extract / f"patients{number or ''}.csv").write_text("\n".join(["patient,yob,sex,practice", *rows, ""]))
    found = Preflight(problems=[problem] if problem else [])
    differing_rows.look(made, found)
    return found.warnings


def test_rows_that_add_to_each_other_are_no_contradiction(tmp_path: Path) -> None:
    assert warnings(tmp_path, ["p1,1950,F,1", "p2,1960,M,", "p2,1960,,2", "p1,1950,F,1"]) == []


def test_contradictions_are_told_by_column_in_one_file_or_in_two(tmp_path: Path) -> None:
    others = [f"p{number},1950,F,1" for number in range(20)]
    for number, files in enumerate(([[*others, "p1,1951,M,1"]], [others, ["p1,1951,M,1"]])):
        (told,) = warnings(tmp_path / str(number), *files)
        assert told.startswith(
            "extract 2024-01-01: some patients have rows with different values; one value is kept:"
            " birth (fewer than 10); some patients have rows with different values; the values are treated as unknown: sex (fewer"
            " than 10); if births differ, one id may"
        )
        assert "p1" not in told
        assert "1951" not in told
    (told,) = warnings(tmp_path / "many", [*others, *(f"{row[:-1]}2" for row in others)])
    assert told.endswith("the values are treated as unknown: practice (about 20).")


def test_of_large_files_the_beginning_is_read_which_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differing_rows, "BLOCK", 64)
    rows = [f"p{number // 2},19{50 + number % 2},F,1" for number in range(4_000)]
    (told,) = warnings(tmp_path, rows)
    assert told.startswith("extract 2024-01-01 (of the first 0 MB of the patient files): some patients have rows")
    assert "birth (fewer than 10)" in told, "of 2,000"


def test_what_is_a_problem_elsewhere_is_not_read_again(tmp_path: Path) -> None:
    assert warnings(tmp_path, ["p1,1950,F,1", "p1,1951,F,1"], problem="there is one") == []
