"""Halves of visits: random, about even, and a patient's own whoever else is there."""

from pathlib import Path

import numpy as np

from ehr_pipeline.embeddings.visit_halves import first_half
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline_tests.encoder.data import write_shard


def visits(days: int) -> list[tuple[str, list[int]]]:
    return [(f"20{number // 12:02}-{1 + number % 12:02}-01", [5]) for number in range(days)]


def test_a_patient_s_halves_do_not_depend_on_the_others(tmp_path: Path) -> None:
    rows = [("1950-07-01", "year", visits(120)) for _ in range(40)]
    path = write_shard(tmp_path / "a.arrow", rows)
    shard, everybody = Shard.read(path), np.arange(40)
    whole = first_half(path, shard, everybody, 0)
    assert 0.45 < whole.mean() < 0.55
    by_patient = whole.reshape(40, 120)
    agree = (by_patient[:-1] == by_patient[1:]).mean(1)
    assert (np.abs(agree - 0.5) < 0.2).all(), "two patients with the same days have halves of their own"
    lag = (by_patient[:, :-1] == by_patient[:, 1:]).mean()
    assert 0.45 < lag < 0.55, "one visit tells nothing of the next"
    assert (first_half(path, shard, everybody, 1) != whole).mean() > 0.4, "another seed, other halves"
    some = first_half(path, shard, np.array([7]), 0)
    assert np.array_equal(some.reshape(40, 120)[7], by_patient[7])
    more = write_shard(tmp_path / "b.arrow", [(birth, kind, own[:60]) for birth, kind, own in rows[:9]])
    fewer = first_half(more, Shard.read(more), np.arange(9), 0).reshape(9, 60)
    assert np.array_equal(fewer, by_patient[:9, :60]), "days that come later change nothing"
