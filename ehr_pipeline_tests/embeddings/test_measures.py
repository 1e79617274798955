"""Measures of an embedding space, on spaces whose shape is known."""

import numpy as np
import pytest
from scipy.stats import skew

from ehr_pipeline.embeddings import measures
from ehr_pipeline.embeddings.geometry import unit_length

PATIENTS = 700
"""More than one block."""


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def normal(rng: np.random.Generator, width: int, patients: int = PATIENTS) -> np.ndarray:
    return unit_length(rng.normal(size=(patients, width)).astype(np.float32))


def test_effective_rank_counts_directions(rng: np.random.Generator) -> None:
    flat = np.hstack([normal(rng, 5), np.zeros((PATIENTS, 20), np.float32)])
    assert measures.effective_rank(flat) == pytest.approx(5, abs=0.1)
    assert measures.effective_rank(np.ones((9, 4), np.float32)) == pytest.approx(1)


def test_hubness_is_the_skewness_of_neighbour_counts(rng: np.random.Generator) -> None:
    unit = normal(rng, 30, 90)
    near = np.argsort(-(unit @ unit.T - 9 * np.eye(90)), axis=1)[:, :15]
    assert measures.hubness(unit) == pytest.approx(skew(np.bincount(near.ravel(), minlength=90)), rel=1e-4)
    cone = unit_length(rng.random((PATIENTS, 60)).astype(np.float32))
    hub = unit_length(cone.mean(axis=0, keepdims=True))
    assert measures.hubness(np.vstack([cone, hub])) > measures.hubness(cone) + 1, (
        "everybody is near the middle of a cone"
    )
    assert measures.hubness(unit[:1]) == 0.0


def test_halves_are_found_as_often_as_they_are_near(rng: np.random.Generator) -> None:
    one = normal(rng, 20)
    assert measures.retrieved(one, one) == {1: pytest.approx(1), 10: pytest.approx(1)}
    by_chance = measures.retrieved(one, normal(rng, 20))
    assert by_chance[1] < 0.01
    assert by_chance[10] == pytest.approx(10 / PATIENTS, abs=0.01)


def test_a_cone_is_seen_raw_and_gone_when_centred(rng: np.random.Generator) -> None:
    cone = unit_length(normal(rng, 16) * 0.3 + np.eye(1, 16, dtype=np.float32))
    found = measures.of_space(cone, (cone[:100], cone[:100]))
    assert found["raw"]["uniformity"] > found["centred"]["uniformity"] + 1
    assert found["raw"]["effective_rank"] < 0.5 * found["centred"]["effective_rank"]
    assert found["raw"]["alignment"] == found["centred"]["alignment"] == 0
    assert measures.rounded(found)["raw"]["retrieved_1"] == 1.0
    nobody = measures.of_space(cone, (cone[:0], cone[:0]))
    assert nobody["raw"]["alignment"] == 2.0, "no patient has both halves: they are as unrelated ones"
    assert nobody["raw"]["retrieved_1"] == 0.0
