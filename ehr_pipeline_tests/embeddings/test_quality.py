"""Figures of embedding quality against scipy and small cases."""

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.stats import spearmanr

from ehr_pipeline.embeddings import measures, quality


def test_spearman_is_scipys_ties_included() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 9, 200), rng.normal(size=200)
    assert quality.spearman(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert quality.spearman(np.ones(5), np.arange(5)) == 0.0


def test_collapse_sees_who_lies_at_the_centre() -> None:
    rng = np.random.default_rng(1)
    age = rng.uniform(0, 90, 500)
    spread = rng.normal(size=(500, 8)) * (100 - age)[:, None] + 60
    found = quality.collapse(spread.astype(np.float32), {"age": age, "shoe size": rng.normal(size=500)})
    assert found["age"] < -0.5
    assert abs(found["shoe size"]) < 0.15
    assert found["spread"] > 0.1
    on_a_circle = (
        np.stack([np.cos(np.arange(360.0)), np.sin(np.arange(360.0))], axis=1) * np.linspace(1, 9, 360)[:, None]
    )
    found = quality.collapse(on_a_circle.astype(np.float32), {"length": np.linspace(1, 9, 360)})
    assert found == {"length": pytest.approx(0, abs=0.1), "spread": pytest.approx(0, abs=5e-3)}


def test_uniformity_and_alignment_by_hand() -> None:
    points = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    assert measures.uniformity(points) == pytest.approx(np.log((2 * np.exp(-4) + np.exp(-8)) / 3), rel=1e-4)
    assert measures.uniformity(np.ones((4, 2), np.float32)) == pytest.approx(0, abs=1e-5)
    here, there = {"a": points[0], "b": points[1]}, {"a": points[0], "b": points[2], "c": points[1]}
    assert quality.alignment(here, there) == pytest.approx(1.0)


def test_components_are_scipys() -> None:
    rng = np.random.default_rng(2)
    for patients, count in ((60, 1), (60, 2), (3, 2)):
        neighbours = quality.nearest(rng.normal(size=(patients, 3)).astype(np.float32), count)
        ones = (np.ones(neighbours.size), (np.repeat(np.arange(patients), count), neighbours.ravel()))
        assert quality.components(neighbours) == connected_components(csr_array(ones, shape=(patients, patients)))[0]
    assert quality.components(np.zeros((4, 0), np.int64)) == 4


def test_neighbours_leave_the_patient_out() -> None:
    vectors = np.array([[1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
    assert quality.nearest(vectors, 1)[:, 0].tolist() == [1, 0, 3, 2]
