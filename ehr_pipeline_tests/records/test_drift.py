"""An extract compared with the one before it."""

import shutil
from pathlib import Path

import pytest

from ehr_pipeline.checks.model import Outcome
from ehr_pipeline.disclosure.kinds import Score
from ehr_pipeline.records import drift
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.generate import EXTRACT, generate
from ehr_pipeline_tests.conftest import tiny_settings

LATER = "2030-01-01"


def outcomes(extract: Path, folder: Path) -> dict[str, Outcome]:
    """The drift checks after the extracts of a landing folder were read and mapped."""
    study = tiny_settings(
        extract,
        study={"store": str(folder / "store")},
        records={"landing": str(folder / "landing"), "buckets": 4, "latest_date": EXTRACT},
    )
    pipeline = Pipeline(study)
    for name in pipeline.extracts():
        pipeline.raw_records(name)
    pipeline.extract_catalog()
    pipeline.mapped_events()
    found = {outcome.name: outcome for outcome in pipeline.check("mapped_events")}
    return {name: outcome for name, outcome in found.items() if name.startswith("drift_")}


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An extract of the same kind as the tiny one, with other patients."""
    folder = tmp_path_factory.mktemp("another")
    generate(folder, patients=400, seed=8)
    return folder / "landing" / EXTRACT


@pytest.fixture
def two(extract: Path, another: Path, tmp_path: Path) -> Path:
    """The tiny extract, and another of the same kind with other patients."""
    shutil.copytree(extract / "landing", tmp_path / "landing")
    shutil.copytree(another, tmp_path / "landing" / LATER)
    return tmp_path


def test_one_extract_drifts_from_nothing(extract: Path, tmp_path: Path) -> None:
    shutil.copytree(extract / "landing", tmp_path / "landing")
    found = outcomes(extract, tmp_path)
    assert set(found) == {f"drift_{kind}" for kind in drift.LIMITS}
    assert all(outcome.passed and not outcome.figures for outcome in found.values())


def test_another_extract_of_the_same_kind_does_not_drift(extract: Path, two: Path) -> None:
    found = outcomes(extract, two)
    assert all(outcome.passed for outcome in found.values()), found
    assert all(outcome.figures[name.removeprefix("drift_")] is not None for name, outcome in found.items())


@pytest.mark.parametrize("kind", list(drift.LIMITS))
def test_each_kind_of_drift_is_told_by_its_check(extract: Path, two: Path, kind: str) -> None:
    folder = two / "landing" / LATER
    for path in sorted(folder.glob("events_*.txt")) if kind != "ages" else [folder / "patients.txt"]:
        head, *lines = path.read_text("latin-1").splitlines(keepends=True)
        if kind == "volume":
            lines = lines[::4]
        elif kind == "ages":
            column = head.rstrip("\n").split("\t").index("year_of_birth")
            rows = [line.rstrip("\n").split("\t") for line in lines]
            for row in rows:
                row[column] = str(int(row[column]) - 20) if row[column].isdigit() else row[column]
            lines = ["\t".join(row) + "\n" for row in rows]
        else:  # one code, which has no concept, in place of half of all
            lines = [
                line if number % 2 else "\t".join([*line.rstrip("\n").split("\t")[:-1], "999000000000103"]) + "\n"
                for number, line in enumerate(lines)
            ]
        path.write_text(head + "".join(lines), "latin-1")
    for path in folder.glob("*.gz"):
        path.unlink()
    found = outcomes(extract, two)
    assert not found[f"drift_{kind}"].passed
    assert not found[f"drift_{kind}"].blocking
    figure = found[f"drift_{kind}"].figures[kind]
    assert isinstance(figure, Score)
    assert figure.value >= drift.LIMITS[kind]
    assert f"{LATER} compared with {EXTRACT}" in found[f"drift_{kind}"].message
