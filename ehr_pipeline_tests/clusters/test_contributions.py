"""What each part of the method contributes: retrieval among similar patients, its intervals, and agreement over starts of
k-means."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ehr_pipeline.clusters import baseline, contributions
from ehr_pipeline.clusters.contributions import Contributions, Space, Truth
from ehr_pipeline.clusters.planted import COUNTS, THIS_RUN
from ehr_pipeline.embeddings import ablations
from ehr_pipeline.embeddings.patient_blocks import mean_over_blocks
from ehr_pipeline.embeddings.vectors import HALVES, WHOLE, Vectors, settings_of
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline_tests.clusters.test_methods import blobs

BLOCKS = np.repeat(np.arange(40), 10)


def space(noise: float, seed: int = 0, person: float = 1.0) -> Space:
    """Vectors of 400 patients who differ by `person`, and whose halves differ from them by `noise`."""
    rng = np.random.default_rng(seed)
    whole = person * rng.normal(size=(400, 8)) + 1
    one, other = (whole + noise * rng.normal(size=whole.shape) for _ in range(2))
    return Space(whole.astype(np.float32), (one.astype(np.float32), other.astype(np.float32)))


def numbers(seed: int = 0) -> dict[str, NDArray[np.float64]]:
    return dict(zip(("age", "concepts"), np.random.default_rng(seed).normal(50, 10, (2, 400)), strict=True))


def test_halves_that_are_equal_are_all_found_and_unrelated_ones_by_chance() -> None:
    assert contributions.retrieved(*space(0).halves, BLOCKS).mean() == 1
    found = np.mean([contributions.retrieved(*space(1, seed, person=0).halves, BLOCKS).mean() for seed in range(10)])
    assert found == pytest.approx(0.1, abs=0.015)


def test_vectors_without_a_difference_are_right_by_chance_only() -> None:
    same = np.ones((400, 3), np.float32)
    for equal in (same, 0 * same, same + np.random.default_rng(0).normal(0, 1e-8, same.shape).astype(np.float32)):
        assert np.allclose(contributions.retrieved(equal, equal, BLOCKS), 0.1)


def test_only_patients_of_a_block_are_compared() -> None:
    """Two patients with the same vectors are mistaken for each other in one block, and not in two."""
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert contributions.retrieved(vectors, vectors, np.array([0, 0, 0])).tolist() == [0.5, 0.5, 1]
    assert contributions.retrieved(vectors, vectors, np.array([0, 1, 0])).tolist() == [1, 1, 1]


def test_the_interval_holds_the_true_share_in_95_of_100_samples() -> None:
    """Also where patients of a block are similar in whether they are found, which an interval over patients would ignore."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(400):
        chance = rng.beta(2, 2, 40)[BLOCKS]
        found = mean_over_blocks((rng.random(400) < chance).astype(float), BLOCKS)
        held += found.low <= 0.5 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_rows_are_paired_with_those_of_this_run() -> None:
    clear, blurred = space(0.3), space(1.0)
    found = contributions.compare(
        {THIS_RUN: blurred, "better": clear, "same": blurred}, BLOCKS, numbers(), truth=None, seed=0
    )
    assert found is not None
    own, better, same = found.rows
    assert found.chance == pytest.approx(0.1)
    assert found.age_sd == pytest.approx(10, rel=0.1)
    assert own.gain == same.gain == contributions.Estimate(0, 0, 0)
    assert better.gain.high < 0
    assert better.gain.value == pytest.approx(own.retrieved.value - better.retrieved.value)
    assert better.alignment < own.alignment
    assert own.adjusted_rand_index is None
    few = contributions.compare({THIS_RUN: clear}, np.arange(400), numbers(), truth=None, seed=0)
    assert few is None, "nobody is like another"


def test_agreement_is_over_several_starts() -> None:
    vectors, groups = blobs()
    named = np.array(["a", "b", "c"])[groups]
    diseases = np.where(groups == 2, "acne", "eczema")
    found = contributions.agreement(vectors, Truth(named, diseases, 3, 6), seed=0)
    assert found["within_diseases"].high == pytest.approx(1)
    assert found["adjusted_rand_index"].high == pytest.approx(1)
    assert found["homogeneity"].value == pytest.approx(1)
    noise = np.random.default_rng(0).normal(size=vectors.shape).astype(np.float32)
    chance = contributions.agreement(noise, Truth(np.where(groups == 0, "", named), diseases, 3, 6), seed=0)[
        "adjusted_rand_index"
    ]
    assert chance.low < chance.value < chance.high < 0.1


def test_the_counts_of_halves_lie_on_the_axes_of_whole_records() -> None:
    rng = np.random.default_rng(0)
    one, other = (csr_array(rng.poisson(0.5, (60, 12)).astype(np.float32)) for _ in range(2))
    whole = (one + other).tocsr()
    found = contributions.counted(whole, (one, whole), 4, 0)
    assert np.allclose(found.whole, baseline.vectors(whole, 4, 0), atol=1e-4)
    assert np.allclose(found.halves[1], found.whole)
    assert not np.allclose(found.halves[0], found.whole, atol=0.1)


def test_a_run_holds_all_rows_and_reads_them_back(tiny: Pipeline, tmp_path: Path) -> None:
    artifact = tiny.store.current("clusters")
    found = Contributions.read(artifact.path)
    assert found is not None
    names = [THIS_RUN, ablations.NETWORK, ablations.NO_NETWORK, COUNTS]
    assert [row.name for row in found.rows] == names
    assert all(row.retrieved.low <= row.retrieved.value <= row.retrieved.high for row in found.rows)
    assert all(row.adjusted_rand_index is not None and row.homogeneity is not None for row in found.rows)
    assert found.rows[0].retrieved.low > found.chance
    replace(found, patients=7).write(tmp_path)
    assert Contributions.read(tmp_path) == replace(found, patients=7)
    assert Contributions.read(tmp_path / "none") is None


def test_the_parts_of_the_vectors_make_the_vectors(tiny: Pipeline) -> None:
    """The vectors of the run are the two parts side by side, weighed by the share that was chosen; also in halves."""
    artifact = tiny.store.current("patient_embeddings")
    found, share = ablations.read(artifact), settings_of(artifact)["encoder_share"]
    network, profile = found[ablations.NETWORK], found[ablations.NO_NETWORK]
    for name, parts in ((WHOLE, (network.whole, profile.whole)), (HALVES[1], (network.halves[1], profile.halves[1]))):
        vectors = Vectors.read(artifact, name)
        there = np.flatnonzero(np.isin(network.ids.to_numpy(False), vectors.ids.to_numpy(False)))
        unit = [part[there] / np.linalg.norm(part[there], axis=1, keepdims=True) for part in parts]
        weighed = [np.sqrt(weight) * block for weight, block in zip((share, 1 - share), unit, strict=True) if weight]
        assert np.allclose(vectors.of(network.ids.take(there)), np.hstack(weighed), atol=1e-5)
    assert len(network.ids) == artifact.counts["kept"]
    assert artifact.counts["encoder_share"]["share"] == share
