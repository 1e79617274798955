"""Windows of time are laid out as patients: each visit lies in one window, with the age that the patient had."""

from pathlib import Path

import numpy as np
import pytest

from ehr_pipeline.embeddings import windows
from ehr_pipeline.encoder.sequences import cut
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline_tests.encoder.data import write_shard

PATIENTS = [
    ("1950-07-01", "day", [("2000-01-01", [5, 6]), ("2004-12-30", [5]), ("2005-06-01", [7]), ("2016-01-01", [8, 9])]),
    ("1960-07-01", "year", [("2000-01-01", [7])]),
    ("1970-07-01", "day", [("1999-01-01", [6]), ("2003-01-01", [8])]),
    ("1980-07-01", "day", []),
]


@pytest.fixture
def shard(tmp_path: Path) -> Shard:
    return Shard.read(write_shard(tmp_path / "x.arrow", PATIENTS))  # type: ignore[arg-type]


def tokens(found: windows.Windows) -> list[list[int]]:
    start = found.shard.patient_tokens
    return [found.shard.tokens[start[row] : start[row + 1]].tolist() for row in found.rows]


@pytest.mark.parametrize(
    ("divided", "owner", "number", "held"),
    [
        ("record", [0, 0, 0, 1, 2], [0, 1, 3, 0, 0], [[5, 6, 5], [7], [8, 9], [7], [6, 8]]),
        ("age", [0, 0, 0, 1, 2, 2], [9, 10, 13, 7, 5, 6], [[5, 6], [5, 7], [8, 9], [7], [6], [8]]),
        ("calendar", [0, 0, 0, 1, 2, 2], [20, 21, 23, 20, 19, 20], [[5, 6, 5], [7], [8, 9], [7], [6], [8]]),
    ],
)
def test_every_visit_lies_in_its_window(
    shard: Shard, divided: windows.Divided, owner: list[int], number: list[int], held: list[list[int]]
) -> None:
    found = windows.split(shard, np.array([0, 1, 2, 3]), divided, 5)
    assert found.owner.tolist() == owner
    assert found.number.tolist() == number
    assert tokens(found) == held


def test_only_the_patients_that_were_asked_for(shard: Shard) -> None:
    found = windows.split(shard, np.array([0, 2]), "record", 100)
    assert found.owner.tolist() == [0, 1]
    assert tokens(found) == [[5, 6, 5, 7, 8, 9], [6, 8]]
    assert windows.split(shard, np.array([], np.int64), "record", 5).rows.tolist() == []
    assert windows.split(shard, np.array([3]), "record", 5).rows.tolist() == []


def test_ages_in_a_window_are_those_of_its_patient(shard: Shard) -> None:
    found = windows.split(shard, np.array([0, 1, 2]), "record", 5)
    chunks = cut(found.shard, 0, found.rows, 256)
    ages = found.shard.ages(chunks.start, chunks.length, chunks.patient, "year")
    assert ages.tolist() == [49, 49, 54, 54, 65, 65, 40, 28, 32]
