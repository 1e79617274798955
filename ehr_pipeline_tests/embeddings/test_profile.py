"""Concept profiles by hand, their leading components against a singular value decomposition, and the course of a record."""

from pathlib import Path
from typing import Any

import numpy as np

from ehr_pipeline.embeddings import profile
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline_tests.encoder.data import write_shard

PATIENTS = [
    ("1950-07-01", "year", [("2000-01-01", [5, 6]), ("2001-01-01", [5]), ("2009-01-01", [7, 9])]),
    ("1960-07-01", "year", []),
    ("1970-07-01", "year", [("2000-01-01", [9])]),
    ("1980-07-01", "year", [("2000-01-01", [7]), ("2010-01-01", [5])]),
]
CONCEPTS = np.array([5, 6, 7])
ALONE = np.eye(3, dtype=np.float32)
NONE = np.zeros(3, np.float32)
PROFILE: Any = {"concepts": CONCEPTS, "passed": ALONE, "usual": NONE, "basis": ALONE}


def made(tmp_path: Path) -> Shard:
    return Shard.read(write_shard(tmp_path / "x.arrow", PATIENTS))  # type: ignore[arg-type]


def test_square_roots_of_shares_of_the_chosen_concepts(tmp_path: Path) -> None:
    block = next(profile.profiles(made(tmp_path), np.array([0, 2, 3]), CONCEPTS, ALONE, NONE))
    assert np.allclose(block, np.sqrt([[0.5, 0.25, 0.25], [0, 0, 0], [0.5, 0, 0.5]]))


def test_shares_are_smoothed_with_those_of_the_cohort(tmp_path: Path) -> None:
    added = profile.usual(CONCEPTS, np.array([9, 9, 9, 9, 9, 6, 2, 0, 7]), 0.4)
    assert np.allclose(added, [0.3, 0.1, 0])
    block = next(profile.profiles(made(tmp_path), np.array([0, 1, 3]), CONCEPTS, ALONE, added))
    assert np.allclose(block**2, [[0.3 + 0.3, 0.15 + 0.1, 0.15], [0, 0, 0], [0.3 + 0.3, 0.1, 0.3]], atol=1e-6)


def test_the_mean_age_of_the_profiled_concepts(tmp_path: Path) -> None:
    ages = profile.features(made(tmp_path), np.arange(4), **PROFILE, course=False, ages=True)[:, 3]
    # The first patient's four profiled tokens lie at 49.5 (two), 50.5 and 58.5 years; the third patient has none of them.
    assert np.allclose(100 * ages, [(2 * 49.5 + 50.5 + 58.5) / 4, 0, 0, (19.5 + 29.5) / 2], atol=0.02)


def test_components_are_the_singular_vectors() -> None:
    rows = np.random.default_rng(0).random((40, 6)).astype(np.float32)
    gram = profile.Gram(6)
    for start in (0, 25):
        gram.add(rows[start : start + 25 if start == 0 else None])
    found = gram.components(3)
    expected = np.linalg.svd(rows, full_matrices=False)[2][:3].T
    assert np.allclose(np.abs(found.T @ expected), np.eye(3), atol=1e-3)
    assert (found[np.abs(found).argmax(0), range(3)] > 0).all()


def test_the_course_is_later_minus_earlier(tmp_path: Path) -> None:
    found = profile.features(made(tmp_path), np.arange(4), **PROFILE, course=True, ages=False)
    earlier, late = np.sqrt([2 / 3, 1 / 3, 0]), np.array([0, 0, 1])
    assert np.allclose(found[0, 3:], late - earlier)
    assert np.allclose(found[3, 3:], [1, 0, -1])
    assert not found[1].any()
    assert np.array_equal(
        profile.features(made(tmp_path), np.arange(4), **PROFILE, course=False, ages=False),
        found[:, :3],
    )


def test_the_most_frequent_chosen_concepts_are_profiled(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(profile, "MOST_CONCEPTS", 2)
    chosen = np.array([False, True, True, True, True])
    assert profile.profiled(np.array([9, 3, 0, 5, 4]), chosen).tolist() == [3, 4]


def test_kin_share_what_they_have(tmp_path: Path) -> None:
    vectors = np.array([[0, 0]] * 5 + [[1, 0], [0.9, 0.1], [-1, 0.5], [7, 7]], np.float32)
    passed = profile.kinship(CONCEPTS, vectors, 0.4)
    assert np.allclose(passed.sum(1), 1)
    assert np.allclose(np.diag(passed), 0.6)
    assert passed[0, 1] > 0.39
    block = next(profile.profiles(made(tmp_path), np.array([3]), CONCEPTS, passed, NONE))
    assert np.allclose(block**2, np.array([0.5, 0, 0.5]) @ passed, atol=1e-6)
    assert np.array_equal(profile.kinship(CONCEPTS, vectors, 0.0), ALONE)
