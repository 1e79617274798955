"""Patients with one record under two ids are found, and those on different sides of the split."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ehr_pipeline.checks import data
from ehr_pipeline.patients.identical_records import IdenticalRecords, count_identical, record_digests
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.patients.test_histories import shard_of
from ehr_pipeline_tests.tasks.reference import Patient, as_tables

LONG = [(day, concept) for day in range(5) for concept in "AB"]


def written(path: Path, *patients: Patient) -> Path:
    schemas.write(path, as_tables(list(patients))[1])
    return path


def patient(name: str, events: list[tuple[int, str]], born: int = 0) -> Patient:
    return Patient(name, "F", events, None, None, None, born=born)


def test_identical_records_are_found_in_all_shards(tmp_path: Path) -> None:
    later, other = [(day + 1, concept) for day, concept in LONG], [*LONG[:-1], (4, "C")]
    one = written(tmp_path / "0.arrow", patient("a", LONG), patient("b", later), patient("c", LONG[:8]))
    two = written(
        tmp_path / "1.arrow",
        patient("d", LONG),
        patient("e", other),
        patient("f", LONG[:8]),
        patient("g", LONG, born=9),
    )
    sides = [np.array([0, 1, 0], np.int8), np.array([0, 0, 1, 1], np.int8)]
    assert count_identical([one, two], sides) == IdenticalRecords(patients=2, across=0)
    sides[1][0] = 2
    assert count_identical([one, two], sides) == IdenticalRecords(patients=2, across=2)
    assert count_identical([], []) == IdenticalRecords(0, 0)


def test_concepts_do_not_move_to_another_day_unseen(tmp_path: Path) -> None:
    """The same days and the same concepts, but one of them a day earlier, are another record."""
    moved = sorted({*LONG, (0, "C")} - {(1, "A")}), sorted({*LONG, (1, "C")} - {(0, "A")})
    path = written(tmp_path / "0.arrow", patient("a", moved[0]), patient("b", moved[1]))
    one, two = record_digests(Shard.read(path))
    assert one != two


def test_one_changed_concept_or_day_is_another_record() -> None:
    record = [(day, [5, 6, 7]) for day in range(4)]
    changed = [
        [
            (day, [8 if (day, place) == (visit, at) else token for place, token in enumerate(tokens)])
            for day, tokens in record
        ]
        for visit in range(4)
        for at in range(3)
    ]
    moved = [[(day + (day >= visit) * 10, tokens) for day, tokens in record] for visit in range(4)]
    shard = shard_of([record, *changed, *moved])
    digests = record_digests(replace(shard, birth_day=np.zeros_like(shard.birth_day)))
    assert len(np.unique(digests)) == len(digests) == 17


def test_the_check_says_how_many(tiny: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = tiny.store.current("data_split")
    assert data.no_record_on_two_sides(artifact, tiny.store, tiny.study)[:2] == (
        True,
        "no two patients have the same record",
    )
    monkeypatch.setattr(data, "count_identical", lambda *_: IdenticalRecords(120, 54))
    passed, message, _ = data.no_record_on_two_sides(artifact, tiny.store, tiny.study)
    assert not passed
    assert "about 120 patients have the same record (birth, days and concepts) as another patient" in message
    assert "for about 50 of them, the other" in message
