"""The mistakes of newcomers: the last screen says what is wrong, where, and what to do, and nothing below it hides that."""

import contextlib
import io
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline import cli
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline_tests.conftest import write_settings

LINES, COLUMNS = 24, 100
"""Those of a small terminal."""
EVENTS, PATIENTS = "events_000.txt", "patients.txt"
Change = Callable[[Path], dict[str, Any]]
"""Makes the mistake in a copy of the study's folder; returns settings that differ."""


def columns(**names: str) -> Change:
    right = {"patient": "patient_id", "date": "event_date", "code": "snomed_code"}
    return events(columns=right | names)


def events(**changes: Any) -> Change:
    files = {
        "files": "events_*.txt*",
        "delimiter": "\t",
        "encoding": "latin-1",
        "date_formats": ["%d/%m/%Y"],
        "columns": {"patient": "patient_id", "date": "event_date", "code": "snomed_code"},
    }
    return lambda folder: {"records": {"events": [files | changes]}}


def moved(folder: Path) -> dict[str, Any]:
    for path in (folder / "landing" / EXTRACT).iterdir():
        path.rename(folder / "landing" / path.name)
    (folder / "landing" / EXTRACT).rmdir()
    return {}


def emptied(folder: Path) -> dict[str, Any]:
    shutil.rmtree(folder / "landing" / EXTRACT)
    return {}


def workbook(folder: Path) -> dict[str, Any]:
    (folder / "landing" / EXTRACT / EVENTS).write_bytes(b"PK\x03\x04" + bytes(range(256)) * 8)
    return {}


def other_list(folder: Path) -> dict[str, Any]:
    (folder / "list.csv").write_text("snomed;term\n195967001;Asthma\n")
    return {"vocabulary": {"administrative_concepts": str(folder / "list.csv")}}


def nobody(folder: Path) -> dict[str, Any]:
    (folder / "list.csv").write_text("code,cui,name,source\n58750007,,Plague,x\n")
    return {"embeddings": {"cohort": [{"name": "Nothing", "concepts": str(folder / "list.csv")}]}}


def missing(folder: Path) -> dict[str, Any]:
    (folder / "terminology" / "MRCONSO.RRF").unlink()
    return {}


def random_bytes(folder: Path) -> dict[str, Any]:
    (folder / "landing" / EXTRACT / EVENTS).write_bytes(b"\x93" + random.Random(1).randbytes(5_000))
    return {}


MISTAKES: dict[str, tuple[Change, tuple[str, ...]]] = {
    "wrong column": (columns(patient="PatientID"), ("no column 'PatientID'", "columns.patient", "The header has")),
    "wrong landing": (
        lambda folder: {"records": {"landing": str(folder / "nowhere")}},
        ("nowhere", "this folder does not exist", "records.landing"),
    ),
    "misspelt key": (
        lambda folder: {"vocabulary": {"min_apperances": 5}},
        ("min_apperances is not a setting", "Did you mean 'min_appearances'?"),
    ),
    "wrong type": (lambda folder: {"clusters": {"n": "five"}}, ("clusters.n", "whole number", "five")),
    "wrong date format": (events(date_formats=["%Y-%m-%d"]), ("date", "%Y-%m-%d", "date_formats")),
    "wrong delimiter": (events(delimiter=","), ("delimiter",)),
    "missing terminology": (missing, ("MRCONSO.RRF", "there is no such file", "events.mrconso")),
    "empty landing": (emptied, ("no extract", "with its date as the name")),
    "files directly in the landing folder": (moved, ("folder", "with its date as the name", EVENTS)),
    "random bytes": (random_bytes, (EVENTS, "line 1: NUL bytes. The file is not text", "encoding")),
    "workbook": (workbook, (EVENTS, "Excel", "CSV")),
    "list with other columns": (other_list, ("list.csv", "code, cui, name, source")),
    "a cohort of nobody": (nobody, ("embeddings.cohort", "this list matches no patient", "Compare its codes")),
    "more clusters than patients": (
        lambda folder: {"clusters": {"n": 500}},
        ("clusters.n", "500", "at most"),
    ),
}


@pytest.fixture(scope="module")
def small(extract: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The extract, with the first rows of each file of events."""
    folder = Path(shutil.copytree(extract, tmp_path_factory.mktemp("mistakes") / "study"))
    for path in (folder / "landing" / EXTRACT).glob("events_*"):
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3000]))
    return folder


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_last_screen_shows_cause_and_cure(small: Path, tmp_path: Path, mistake: str) -> None:
    change, words = MISTAKES[mistake]
    folder = Path(shutil.copytree(small, tmp_path / "study"))
    path = write_settings(tmp_path / "study.toml", folder, tmp_path / "store", **change(folder))
    code, screen = last_screen(["check", "--settings", str(path)])
    assert code == cli.USER_ERROR or mistake in ("a cohort of nobody", "more clusters than patients"), screen
    assert [word for word in words if word not in screen] == [], screen


def last_screen(command: list[str]) -> tuple[int, str]:
    """The exit code of a command, and what a small terminal shows at its end, where it wraps long lines."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown):
        code = cli.main(command)
    lines = (line + "\n" for line in shown.getvalue().splitlines())
    rows = [line[start : start + COLUMNS] for line in lines for start in range(0, max(len(line) - 1, 1), COLUMNS)]
    screen = "".join(rows[-LINES:])
    assert "Traceback" not in screen
    assert "dagster" not in screen.lower()
    return code, screen


def test_a_line_that_is_not_toml_is_shown(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "study.toml"
    path.write_text('[study]\nname = "a"\nstore = store\n')
    assert cli.main(["check", "--settings", str(path)]) == cli.USER_ERROR
    told = capsys.readouterr().err
    assert "line 3" in told
    assert "store = store" in told


def test_a_misspelt_asset_is_recognised(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_settings(tmp_path / "study.toml", small, tmp_path / "store")
    (tmp_path / "home").mkdir()
    shutil.copyfile(Path(__file__).parents[2] / "dagster.yaml", tmp_path / "home" / "dagster.yaml")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(tmp_path / "home"))
        patch.setenv("EHR_STATE_DIR", str(tmp_path / "home"))
        assert cli.main(["run", "--settings", str(path), "--select", "cluster"]) == cli.USER_ERROR
    assert "Did you mean 'clusters'?" in capsys.readouterr().err.splitlines()[-1]
