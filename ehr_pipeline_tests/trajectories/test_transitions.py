"""Transitions count patients, once for each way, and tell a change from chance."""

import csv
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from ehr_pipeline.trajectories import transitions
from ehr_pipeline.trajectories.transitions import Course

CLUSTERS = np.array([2, 5, 7])


def course(*windows: tuple[str, int, int]) -> Course:
    patient, number, cluster = zip(*windows, strict=True)
    return Course.of(pa.table({"patient_id": patient, "window": number, "cluster": cluster}))


def test_first_and_last_windows() -> None:
    found = course(("b", 0, 2), ("b", 2, 5), ("a", 1, 7), ("c", 0, 7), ("c", 1, 2), ("c", 2, 7))
    assert found.table(found.first_and_last(), CLUSTERS).tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_a_gap_is_no_step_and_who_goes_twice_counts_once() -> None:
    found = course(("b", 0, 2), ("b", 2, 5), ("c", 0, 7), ("c", 1, 2), ("c", 2, 7), ("c", 3, 2))
    table = found.table(found.consecutive(), CLUSTERS)
    assert table.tolist() == [[0, 0, 1], [0, 0, 0], [1, 0, 0]]


def test_the_p_value_is_that_of_the_binomial_test() -> None:
    counts = np.array([[90, 30, 4], [12, 50, 5], [4, 5, 0]])
    log_p = transitions.log_p_one_way(counts)
    assert log_p[0, 1] == log_p[1, 0] == pytest.approx(math.log(binomtest(12, 42).pvalue), abs=1e-9)
    assert log_p[0, 2] == log_p[1, 2] == 0  # as many there as back
    assert (np.diag(log_p) == 0).all()


def test_nobody_changes_by_chance_alone() -> None:
    """Windows that are drawn alike, and so change often, show no way that is gone one way."""
    rng = np.random.default_rng(0)
    cluster = rng.integers(3, size=3000)
    patient = np.repeat(np.arange(1000), 3)
    found = Course(patient, np.tile(np.arange(3), 1000), CLUSTERS[cluster])
    table = found.table(found.first_and_last(), CLUSTERS)
    assert table.trace() < 400
    assert transitions.log_p_one_way(table).min() > math.log(0.005)


def test_the_table_for_notebooks(tmp_path: Path) -> None:
    found = course(("b", 0, 2), ("b", 1, 5), ("c", 0, 2), ("c", 1, 5), ("c", 2, 2))
    transitions.write(tmp_path, found, CLUSTERS)
    with (tmp_path / transitions.FILE).open() as stream:
        rows = list(csv.DictReader(stream))
    told = [(r["step"], r["from_cluster"], r["to_cluster"], r["patients"], r["patients_back"]) for r in rows]
    assert told == [
        ("first to last", "2", "2", "1", "1"),
        ("first to last", "2", "5", "1", "0"),
        ("0 to 1", "2", "5", "2", "0"),
        ("1 to 2", "5", "2", "1", "0"),
    ]
