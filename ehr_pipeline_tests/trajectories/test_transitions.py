"""Transitions count patients, once for each way, and are tested against what is expected."""

import csv
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest, norm, poisson

from ehr_pipeline.trajectories import transitions
from ehr_pipeline.trajectories.expected import DONORS
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


def test_without_expected_moves_the_p_value_is_that_of_the_binomial_test() -> None:
    counts = np.array([[90, 30, 6], [12, 50, 5], [6, 5, 0]])
    log_p = transitions.log_p_beyond(counts, np.zeros((3, 3)))
    exact = math.log(binomtest(12, 42).pvalue)
    assert exact <= log_p[0, 1] == log_p[1, 0] < exact + math.log(1.5)
    assert log_p[0, 2] == log_p[1, 2] == 0  # as many there as back
    assert np.isnan(np.diag(log_p)).all()


def test_what_is_expected_is_no_evidence() -> None:
    counts = np.array([[90, 60], [10, 50]])
    log_p = [
        transitions.log_p_beyond(counts, np.array([[0.0, due], [10.0, 0.0]]))[0, 1] for due in (10, 30, 45, 60, 80)
    ]
    assert log_p == sorted(log_p)
    assert log_p[0] < math.log(1e-7)
    assert log_p[3] == pytest.approx(0, abs=1e-9)
    back = transitions.log_p_beyond(counts, np.array([[0.0, 10.0], [60.0, 0.0]]))[0, 1]
    assert back > log_p[0] - 1e-9, "an expected difference the other way makes no move more certain"


def test_the_p_value_is_that_of_the_score_test() -> None:
    """Means under the hypothesis that their difference is the expected one, by maximum likelihood; two-sided."""
    counts, expected = np.array([[90, 60], [20, 50]]), np.array([[0.0, 30.0], [14.0, 0.0]])
    due = 16
    likelihood = minimize_scalar(
        lambda back: -poisson.logpmf([60, 20], [back + due, back]).sum(), bounds=(0.1, 90), method="bounded"
    )
    means = 2 * likelihood.x + due
    variance = max(means, 44) * (1 + 1 / DONORS) + (0.15 * due) ** 2
    p = 2 * norm.sf((60 - 20 - due) / np.sqrt(variance))
    assert transitions.log_p_beyond(counts, expected)[0, 1] == pytest.approx(math.log(p), rel=1e-4)
    assert p > binomtest(20, 80).pvalue


def test_too_few_moves_are_not_tested() -> None:
    log_p = transitions.log_p_beyond(np.array([[9, 5], [0, 9]]), np.zeros((2, 2)))
    assert np.isnan(log_p).all()


def test_the_p_values_of_chance_are_not_too_small() -> None:
    """Poisson numbers whose means differ by what is expected: at most as many p values under each bound as it says."""
    rng = np.random.default_rng(0)
    due = np.array([[0.0, 25.0], [8.0, 0.0]])
    log_p = np.array([transitions.log_p_beyond(rng.poisson(due), due)[0, 1] for _ in range(4000)])
    for bound in (0.05, 0.01):
        assert (log_p < math.log(bound)).mean() <= bound


def test_nobody_changes_by_chance_alone() -> None:
    """Windows that are drawn alike, and so change often, show no way that is gone one way."""
    rng = np.random.default_rng(0)
    cluster = rng.integers(3, size=3000)
    patient = np.repeat(np.arange(1000), 3)
    found = Course(patient, np.tile(np.arange(3), 1000), CLUSTERS[cluster])
    table = found.table(found.first_and_last(), CLUSTERS)
    assert table.trace() < 400
    assert np.nanmin(transitions.log_p_beyond(table, np.zeros((3, 3)))) > math.log(0.005)


def test_what_was_tested_is_read_as_it_was_written(tmp_path: Path) -> None:
    """In both directions, also where nobody went one of them; and nothing is known where nothing was expected."""
    windows = [(f"p{number:02d}", side, (2, 5)[side]) for number in range(12) for side in (0, 1)]
    found = course(*windows)
    due = np.array([[50.0, 2.25, 0.5], [1.5, 40.0, 0.0], [0.0, 0.0, 3.0]])
    transitions.write(tmp_path, found, CLUSTERS, due)
    tested = transitions.Tested.read(tmp_path, CLUSTERS)
    assert (tested.expected[0, 1], tested.expected[1, 0]) == (2.25, 1.5)
    counts = found.table(found.first_and_last(), CLUSTERS)
    assert (
        tested.log_p[0, 1] == tested.log_p[1, 0] == pytest.approx(transitions.log_p_beyond(counts, due)[0, 1], rel=1e-5)
    )
    assert np.isnan(tested.log_p[0, 2])
    transitions.write(tmp_path, found, CLUSTERS, None)
    assert np.isnan(transitions.Tested.read(tmp_path, CLUSTERS).log_p).all()


def test_the_table_for_notebooks(tmp_path: Path) -> None:
    found = course(("b", 0, 2), ("b", 1, 5), ("c", 0, 2), ("c", 1, 5), ("c", 2, 2))
    transitions.write(tmp_path, found, CLUSTERS, None)
    with (tmp_path / transitions.FILE).open() as stream:
        rows = list(csv.DictReader(stream))
    told = [(r["step"], r["from_cluster"], r["to_cluster"], r["patients"], r["patients_back"]) for r in rows]
    assert told == [
        ("first to last", "2", "2", "1", "1"),
        ("first to last", "2", "5", "1", "0"),
        ("0 to 1", "2", "5", "2", "0"),
        ("1 to 2", "5", "2", "1", "0"),
    ]
