"""How many clusters the two halves of records support."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ehr_pipeline.clusters import number_of_clusters
from ehr_pipeline.clusters.evidence import Half
from ehr_pipeline.clusters.matching import Matching
from ehr_pipeline.clusters.settings import ClustersSettings
from ehr_pipeline.embeddings.geometry import unit_length

Floats = NDArray[np.float32]
WIDTH = 12


def cohort(
    groups: int, *, patients: int = 600, age: float = 0.0, seed: int = 0, apart: float = 1.0
) -> tuple[Floats, tuple[Half, Half], Matching]:
    """Whole records, halves and covariates of patients in as many groups, `apart` from each other; diseases show in their vectors,
    as ages do by `age`."""
    rng = np.random.default_rng(seed)
    group, disease = rng.integers(0, groups, patients), rng.integers(0, 2, patients)
    years = rng.uniform(0, 1, patients)
    planted = (apart * np.eye(WIDTH)[group] if groups > 1 else 0) + np.eye(WIDTH)[-1 - disease] / 2
    halves = []
    for _ in range(2):
        vectors = planted + rng.normal(0, 0.3, (patients, WIDTH))
        vectors[:, WIDTH // 2] += age * (years + rng.normal(0, 0.03, patients))
        halves.append(Half(vectors.astype(np.float32), csr_array((patients, 1)), np.ones(patients, bool)))
    whole = unit_length((halves[0].vectors + halves[1].vectors) / 2)
    sex = rng.integers(0, 2, patients)
    return whole, (halves[0], halves[1]), Matching(((disease, sex),), (years, rng.lognormal(4, 1, patients)))


def tried(groups: int, method: str = "spectral", **how: float) -> list[number_of_clusters.HalvesAgreement]:
    unit, halves, alike = cohort(groups, **how)  # type: ignore[arg-type]
    return number_of_clusters.of_cohort(unit, halves, alike, ClustersSettings(method=method, examine_up_to=10), seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize("groups", [2, 4, 5])
def test_as_many_clusters_as_groups_are_supported(groups: int) -> None:
    found = tried(groups)
    assert number_of_clusters.largest(found) == groups
    assert tried(groups) == found, "the same cohort gives the same answer"


@pytest.mark.parametrize("method", ["kmeans", "agglomerative"])
def test_other_methods_find_the_number_too(method: str) -> None:
    assert number_of_clusters.largest(tried(3, method)) == 3


@pytest.mark.parametrize(("apart", "supported"), [(0.25, False), (0.35, True)])
def test_slight_agreement_supports_no_number_however_sure(apart: float, supported: bool) -> None:
    """Of 2,000 patients, halves agree beyond chance on both; only on one by more than what is called slight."""
    patients = 2_000
    group = np.random.default_rng(0).integers(0, 2, patients)  # as `cohort` draws it
    unit, halves, alike = cohort(2, patients=patients, apart=apart)
    (found,) = number_of_clusters.examine(unit, halves, alike, lambda _: group, most=2, neighbours=10)
    assert 0.1 < found.halves < 0.4
    assert found.supported is supported


@pytest.mark.parametrize("seed", range(5))
def test_noise_and_what_patients_are_matched_on_support_no_division(seed: int) -> None:
    assert number_of_clusters.largest(tried(1, seed=seed)) == 1
    assert number_of_clusters.largest(tried(1, seed=seed, age=2.0)) == 1


def test_the_number_is_examined_in_a_part_of_many_patients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(number_of_clusters, "MOST_PATIENTS", 500)
    assert len(number_of_clusters.sample(2000, 0)) == 500
    assert number_of_clusters.largest(tried(3, patients=2000)) == 3


def test_nothing_is_tried_where_there_are_too_few_patients() -> None:
    assert tried(2, patients=12) == []
    assert tried(2, patients=40) == []
    assert number_of_clusters.largest([]) == 1


def test_agreement_is_that_beyond_all_shuffles_within_blocks() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 3, 60), rng.integers(0, 3, 60)
    other[:25] = one[:25]
    blocks = np.repeat(np.arange(12), 5)
    shuffles = []
    for _ in range(4000):
        order = np.lexsort((rng.random(60), blocks))
        shuffles.append((one == other[order]).sum())
    found, same = number_of_clusters.agreement(one, other, blocks), (one == other).sum()
    assert found.deviate == pytest.approx((same - np.mean(shuffles)) / np.std(shuffles), abs=0.1)
    assert found.kappa == pytest.approx((same - np.mean(shuffles)) / (found.patients - np.mean(shuffles)), abs=0.01)


def test_the_weakest_of_clusters_can_agree_more_than_all_of_them() -> None:
    """Three clusters, and halves that go astray into either of the others alike: a third cluster is no disagreement of two."""
    rng = np.random.default_rng(3)
    true = rng.integers(0, 3, 6000)
    votes = [np.where(rng.random(6000) < 0.4, (true + rng.integers(1, 3, 6000)) % 3, true) for _ in range(2)]
    everybody = np.zeros(6000, np.int64)
    alike = Matching(((everybody, everybody),), (rng.random(6000),))
    overall = number_of_clusters.agreement(votes[0], votes[1], number_of_clusters._blockings(alike)[0])
    weakest = min(one.kappa for one in number_of_clusters._with_rivals(votes, alike, 3) if one)
    assert overall.kappa == pytest.approx((0.44 - 1 / 3) / (2 / 3), abs=0.03)
    assert weakest == pytest.approx((0.88 / 1.44 - 0.5) / 0.5, abs=0.05)
    assert weakest > overall.kappa


def test_blocks_of_one_cluster_or_one_patient_say_nothing() -> None:
    labels, blocks = np.array([0, 0, 0, 0, 1, 1, 1]), np.array([0, 0, 0, 0, 1, 1, 2])
    assert number_of_clusters.agreement(labels, labels, blocks) == number_of_clusters.NOBODY


def test_neighbours_in_a_number_are_alike() -> None:
    blocks = number_of_clusters.in_order([np.array([0, 0, 1, 1, 0, 0, 0, 1])], np.array([5, 1, 2, 3, 4, 3, 9, 1]))
    assert len({blocks[place] for place in (0, 1, 4, 5)}) == 1
    assert len({blocks[place] for place in (2, 3, 7)}) == 1
    assert len(set(blocks.tolist())) == 3


def test_the_table_can_be_read_again(tmp_path: Path) -> None:
    some = [
        number_of_clusters.HalvesAgreement(2, 0.5, 0.25, supported=True),
        number_of_clusters.HalvesAgreement(3, np.nan, np.nan, supported=False),
    ]
    number_of_clusters.write(tmp_path, some, np.array([[0.9, np.nan], [0.7, np.nan]]))
    one, other = number_of_clusters.read(tmp_path)
    assert one == {
        "n": 2,
        "halves": 0.5,
        "weakest": 0.25,
        "supported": True,
        "prediction_strength": 0.8,
        "prediction_strength_sd": 0.1,
    }
    assert other["supported"] is False
    assert other["halves"] is other["prediction_strength"] is None
    assert number_of_clusters.read(tmp_path / "elsewhere") == []
