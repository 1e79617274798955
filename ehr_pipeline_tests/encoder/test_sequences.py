from pathlib import Path

import numpy as np
import pytest

from ehr_pipeline.encoder.sequences import Sequences, cut
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline_tests.encoder.data import write_shard, write_split

PATIENTS = [
    ("1950-07-01", "year", [("1950-01-05", [5, 6]), ("1952-12-31", [7])]),
    ("1980-06-15", "day", [("1980-06-15", [8]), ("2000-06-14", [5]), ("2000-06-16", [9, 10]), ("2019-01-01", [6])]),
    ("1800-07-01", "year", [("2019-01-01", [5])]),
]


def opened(tmp_path: Path, context: int = 256, unit: str = "year", positions: int = 514) -> Sequences:
    write_shard(tmp_path / "patients" / "00000.arrow", PATIENTS)
    return Sequences.open(tmp_path / "patients", context, unit, positions)  # type: ignore[arg-type]


def test_tokens_come_in_order_with_the_age_plus_one_as_position(tmp_path: Path) -> None:
    selection = opened(tmp_path).select(opened(tmp_path).chunks)
    assert selection.tokens.tolist() == [5, 6, 7, 8, 5, 9, 10, 6, 5]
    # Birth year only: the difference of calendar years. Full date: completed years.
    assert (selection.positions - 1).tolist() == [0, 0, 2, 0, 19, 20, 20, 38, 219]
    assert selection.clipped == 0


def test_quarters_need_a_date_of_birth(tmp_path: Path) -> None:
    selection = opened(tmp_path, unit="quarter", positions=2000).select(opened(tmp_path).chunks)
    assert (selection.positions - 1)[:3].tolist() == [0, 0, 8], "four times the years where only the year is known"
    assert (selection.positions - 1)[3:6].tolist() == [0, 79, 80]


def test_ages_outside_the_table_are_clipped_and_counted(tmp_path: Path) -> None:
    selection = opened(tmp_path, positions=100).select(opened(tmp_path).chunks)
    assert selection.positions.max() == 99
    assert selection.clipped == 1


def test_no_position_is_that_of_padding(tmp_path: Path) -> None:
    early = [
        ("2000-01-01", "day", [("1999-12-31", [5])])
    ]  # before birth by a day: imputed births can lie after an event
    write_shard(tmp_path / "patients" / "00000.arrow", early)
    sequences = Sequences.open(tmp_path / "patients", 256, "year", 514)
    selection = sequences.select(sequences.chunks)
    assert (selection.positions.tolist(), selection.clipped) == ([1], 1)


def test_chunks_cover_each_patient_in_pieces(tmp_path: Path) -> None:
    chunks = opened(tmp_path, context=2).chunks
    assert list(zip(chunks.patient.tolist(), chunks.start.tolist(), chunks.length.tolist(), strict=True)) == [
        (0, 0, 2), (0, 2, 1), (1, 3, 2), (1, 5, 2), (1, 7, 1), (2, 8, 1)
    ]  # fmt: skip


def test_only_the_patients_of_one_side(tmp_path: Path) -> None:
    write_shard(tmp_path / "patients" / "00000.arrow", PATIENTS)
    write_split(tmp_path / "split" / "00000.arrow", ["train", "validation", "train"])
    parts = {
        side: Sequences.open(tmp_path / "patients", 256, "year", 514, tmp_path / "split", side)
        for side in ("train", "validation")
    }
    assert parts["train"].chunks.patient.tolist() == [0, 2]
    assert parts["validation"].token_count == 5
    assert parts["train"].token_counts(12)[5] == 2


def test_several_shards(tmp_path: Path) -> None:
    write_shard(tmp_path / "patients" / "00000.arrow", PATIENTS[:1])
    write_shard(tmp_path / "patients" / "00001.arrow", [])
    write_shard(tmp_path / "patients" / "00002.arrow", PATIENTS[1:])
    sequences = Sequences.open(tmp_path / "patients", 256, "year", 514)
    selection = sequences.select(sequences.chunks[np.array([2, 0])])
    assert selection.tokens.tolist() == [5, 5, 6, 7]


@pytest.mark.parametrize("kept", [[True, False, True, False, True, False, False], [False] * 7, [True] * 7])
def test_a_shard_with_some_of_its_visits(tmp_path: Path, kept: list[bool]) -> None:
    shard = Shard.read(write_shard(tmp_path / "x.arrow", PATIENTS)).keep_visits(np.array(kept))
    visits = [(n, tokens) for n, (_, _, own) in enumerate(PATIENTS) for _, tokens in own]
    expected = [
        [t for (owner, tokens), k in zip(visits, kept, strict=True) if k and owner == n for t in tokens]
        for n in range(3)
    ]
    starts = shard.patient_tokens
    assert [shard.tokens[starts[n] : starts[n + 1]].tolist() for n in range(3)] == expected
    chunks = cut(shard, 0, np.arange(3), 256)
    assert chunks.length.tolist() == [len(tokens) for tokens in expected if tokens]


def test_a_shard_without_the_concepts_that_an_encoder_does_not_know(tmp_path: Path) -> None:
    shard = Shard.read(write_shard(tmp_path / "00000.arrow", PATIENTS))
    fewer = shard.below(8)
    assert fewer.tokens.tolist() == [5, 6, 7, 5, 6, 5]
    assert fewer.visit_start.tolist() == [0, 2, 3, 4, 5, 6], "visits without a known concept are none"
    assert fewer.patient_start.tolist() == [0, 2, 4, 5]
    assert fewer.visit_day.tolist() == [shard.visit_day[place] for place in (0, 1, 3, 5, 6)]
    assert shard.below(11) is shard
    nobody = shard.below(5)
    assert nobody.tokens.tolist() == []
    assert nobody.patient_start.tolist() == [0, 0, 0, 0]
