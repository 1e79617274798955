"""What the page says of change over time: planted moves with their direction, and no small count."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.reports.sections import evolution
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline.trajectories import transitions
from ehr_pipeline.trajectories.transitions import Course
from ehr_pipeline_tests.conftest import unpublished

RULE = Disclosure(10)
NUMBERS = np.array([1, 2, 4])


def described(
    tmp_path: Path,
    flows: list[list[int]],
    others: int = 50,
    not_drawn: int = 0,
    *,
    expected: list[list[float]] | None = None,
) -> dict[str, object]:
    """What is told of patients who went from cluster to cluster, two windows each."""
    rows = []
    for left, row in zip(NUMBERS.tolist(), flows, strict=True):
        for entered, count in zip(NUMBERS.tolist(), row, strict=True):
            for _ in range(count):
                patient = f"p{len(rows) // 2}"
                rows += [(patient, 0, left, left, 0.0), (patient, 1, entered, entered, 1.0)]
    names = ["patient_id", "window", "cluster", "x", "y"]
    table = pa.table(dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))
    schemas.write(tmp_path / "trajectories" / "00000.arrow", table)
    due = np.zeros((3, 3)) if expected is None else np.array(expected)
    transitions.write(tmp_path, Course.of(table), NUMBERS, due)
    counts = {
        "windows": "record",
        "years": 5.0,
        "kept": len(rows),
        "dropped": {"few_concepts": 3},
        "patients": {"kept": len(rows) // 2, "dropped": {"not_drawn": not_drawn, "fewer_than_two_windows": others}},
    }
    ids = sorted(set(table.column("patient_id").to_pylist()))
    cluster = [int(NUMBERS[number % 3]) for number in range(len(ids))]
    clustered = pa.table({"patient_id": ids, "cluster": cluster, "x": np.arange(len(ids)), "y": np.ones(len(ids))})
    artifact = Artifact(tmp_path, unpublished(tmp_path).manifest | {"counts": counts})
    inputs = Inputs("", [], {"patient_trajectories": artifact}, {"data_split": {"key": "secret"}}, 0, {})
    findings = Findings(inputs, ReportsSettings(suppress_below=RULE.below), tmp_path / "drawn")
    vars(findings)["clusters"] = Clusters(clustered)
    return evolution.describe(findings)


def cells(found: dict[str, object]) -> list[list[str]]:
    return [row["cells"] for row in found["rows"]]  # type: ignore[attr-defined]


def test_moves_are_told_with_their_direction(tmp_path: Path) -> None:
    found = described(tmp_path, [[200, 60, 20], [12, 150, 0], [18, 30, 90]])
    moves = [(move.left, move.entered, move.patients, move.back, move.q) for move in found["moves"]]  # type: ignore[attr-defined]
    assert moves == [(1, 2, "60", "12", "<0.001"), (4, 2, "30", "…", "<0.05")]
    assert cells(found)[0][:3] == ["200", "60", "20"]
    assert found["stayed"] == "75–77 %"
    assert found["steps"] == [("0 to 1", "about 580", "23–25 %")]
    assert (tmp_path / "drawn" / "trajectories.png").stat().st_size > 5_000


def test_moves_that_are_expected_are_not_told(tmp_path: Path) -> None:
    """What is expected stands beside what is told, rounded."""
    flows = [[200, 60, 20], [12, 150, 0], [18, 30, 90]]
    found = described(tmp_path / "some", flows, expected=[[0, 22.4, 0], [14.2, 0, 0], [0, 31.5, 0]])
    told = [(move.left, move.entered, move.expected, move.expected_back) for move in found["moves"]]  # type: ignore[attr-defined]
    assert told == [(1, 2, "about 20", "about 10")]
    assert found["tests"] == 3
    none = described(tmp_path / "none", flows, expected=[[0, 55, 0], [10, 0, 0], [0, 31.5, 0]])
    assert none["moves"] == []
    assert none["tests"] == 3


def test_without_enough_moves_nothing_was_tested(tmp_path: Path) -> None:
    assert not described(tmp_path, [[200, 5, 0], [0, 150, 0], [0, 0, 90]])["tests"]


def test_a_move_of_few_is_not_told(tmp_path: Path) -> None:
    found = described(tmp_path, [[200, 9, 0], [0, 150, 0], [0, 0, 90]])
    assert found["moves"] == []
    assert cells(found)[0][1] == "…"
    assert not any(cell.isdigit() and int(cell) < 10 for row in cells(found) for cell in row)


@pytest.mark.parametrize(("others", "shown"), [(50, True), (4, False), (0, True)])
def test_the_few_who_are_left_out_do_not_follow_from_the_totals(tmp_path: Path, others: int, shown: bool) -> None:
    found = described(tmp_path, [[200, 60, 20], [12, 150, 30], [18, 30, 90]], others)
    assert cells(found)[0][:3] == ["200", "60", "20"]
    assert (cells(found)[3][3] == "610") == shown


def test_how_many_were_drawn_is_told_where_some_were_not(tmp_path: Path) -> None:
    flows = [[200, 0, 0], [0, 150, 0], [0, 0, 90]]
    assert described(tmp_path / "all", flows)["drawn"] == ""
    assert described(tmp_path / "some", flows, not_drawn=700)["drawn"] == "about 490"


def test_no_moves_at_all(tmp_path: Path, drawn: list[Any]) -> None:
    """Without moves their empty map is not drawn either."""
    found = described(tmp_path, [[200, 0, 0], [0, 150, 0], [0, 0, 90]])
    assert found["moves"] == []
    assert found["stayed"] == ">97 %"
    assert [axes.get_title() for axes in drawn] == ["Mean position, window after window"]
