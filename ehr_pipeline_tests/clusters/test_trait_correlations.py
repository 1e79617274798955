import numpy as np
import pytest
from scipy.sparse import csr_array

from ehr_pipeline.clusters import trait_correlations
from ehr_pipeline.clusters.microaggregation import nearest_blocks
from ehr_pipeline.clusters.trait_correlations import Records, TraitCorrelations, correlation_test

CONCEPTS, PATIENTS = 24, 2400


def records(
    *, seed: int, group: bool = False, everybody: bool = False, names: tuple[str, ...] = ("a", "b", "c")
) -> Records:
    """Patients with traits that persist. With `group`, five of them go together in half of the patients of disease a alone;
    with `everybody`, they do in half of all patients. A trait more is of disease a only.
    """
    rng = np.random.default_rng(seed)
    disease, age = rng.choice(np.array(names, object), PATIENTS), rng.uniform(20, 80, PATIENTS)
    chance = np.full((PATIENTS, CONCEPTS), 0.15)
    chance[:, 0] = np.where(disease == "a", 0.6, 0.01)
    chance[:, 1] = age / 100
    member = rng.random(PATIENTS) < 0.5
    if group:
        member &= disease == "a"
    if group or everybody:
        chance[:, 5:10] = np.where(member, 0.7, 0.15)[:, None]
    has = rng.random((PATIENTS, CONCEPTS)) < chance
    halves = tuple(csr_array(rng.poisson(np.where(has, 1.5, 0.0)).astype(float)) for _ in range(2))
    blocks = nearest_blocks([np.zeros(PATIENTS)], [age], 20)
    return Records((halves[0], halves[1]), disease, blocks)


def found_in(given: Records) -> TraitCorrelations:
    return correlation_test(given, permutations=100, seed=0)


def test_traits_that_go_together_in_one_disease_are_found_there() -> None:
    found = found_in(records(seed=0, group=True))
    assert found.is_significant
    assert max(found.diseases, key=found.diseases.__getitem__) == "a"
    assert found.diseases["a"] > 4


def test_traits_that_persist_or_go_together_in_everybody_make_no_subgroup() -> None:
    """The first are independent of each other, as the traits of chronic patients may be; the second are common comorbidity."""
    for everybody in (False, True):
        p = [found_in(records(seed=seed, everybody=everybody)).p for seed in range(1, 7)]
        assert np.median([value for value in p if value is not None]) > 0.1, everybody
        assert sum(value is not None and value <= 0.02 for value in p) <= 1, everybody


def test_a_single_disease_is_compared_with_patients_beside_it() -> None:
    beside = found_in(records(seed=3, group=True, names=("a", "")))
    assert beside.is_significant
    assert list(beside.diseases) == ["a"]
    assert beside.others == pytest.approx(PATIENTS / 2, rel=0.1)


def test_without_anybody_else_nothing_is_said() -> None:
    found = found_in(records(seed=4, group=True, names=("a",)))
    assert (found.p, found.is_significant, found.diseases, found.others) == (None, None, {}, 0)


def of_a_disease(*, seed: int) -> Records:
    """Everybody with concept 0 has six others more often. It is rare, but all patients of disease a have it, some unrecorded."""
    rng = np.random.default_rng(seed)
    disease, age = rng.choice(np.array(["a", "b", "c"], object), PATIENTS), rng.uniform(20, 80, PATIENTS)
    carrier = (disease == "a") | (rng.random(PATIENTS) < 0.1)
    chance = np.full((PATIENTS, CONCEPTS), 0.15)
    chance[:, 0] = np.where(carrier, 0.9, 0.0)
    chance[:, 1:7] = np.where(carrier, 0.5, 0.1)[:, None]
    has = rng.random((PATIENTS, CONCEPTS)) < chance
    halves = tuple(csr_array(rng.poisson(np.where(has, 1.5, 0.0)).astype(float)) for _ in range(2))
    return Records((halves[0], halves[1]), disease, nearest_blocks([np.zeros(PATIENTS)], [age], 20))


def test_comorbidity_of_one_disease_makes_no_subgroup_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Psoriasis patients with eczema have asthma and hay fever; patients chosen for eczema all have eczema, so it tells nothing."""
    given = [of_a_disease(seed=seed) for seed in (1, 2, 3)]
    assert [found_in(one).is_significant for one in given] == [False] * 3
    monkeypatch.setattr(trait_correlations, "BELONGS_FROM", np.inf)
    assert max(found_in(given[0]).diseases.values()) > 6
