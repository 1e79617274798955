from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse import csr_array

from ehr_pipeline.clusters import trait_correlations
from ehr_pipeline.clusters.microaggregation import nearest_blocks
from ehr_pipeline.clusters.trait_correlations import OwnTraits, Records, TraitCorrelations, correlation_test

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
    return Records((halves[0], halves[1]), disease, blocks, np.full(PATIENTS, "F", object), age, None)


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


def of_one_disease_alone(rng: np.random.Generator, *, groups: bool, severity: float = 0.0) -> Records:
    """Half of the patients have disease a; hardly anybody else has its nine conditions. With `groups`, a patient has three of them
    more often than the other six; with `severity`, one gradient decides how many a patient has. Everybody has three others."""
    disease, age = np.repeat(np.array(["a", ""], object), PATIENTS // 2), rng.uniform(20, 80, PATIENTS)
    chance = np.full((PATIENTS, 9), 0.35)
    if groups:
        chance = np.where(rng.integers(0, 3, PATIENTS)[:, None] == np.arange(9) // 3, 0.7, 0.15)
    odds = chance / (1 - chance) * np.exp(severity * rng.normal(size=PATIENTS))[:, None]
    chance = np.where((disease == "a")[:, None], odds / (1 + odds), 0.01)
    has = rng.random((PATIENTS, 12)) < np.column_stack([chance, np.full((PATIENTS, 3), 0.3)])
    halves = tuple(csr_array(rng.poisson(np.where(has, 1.5, 0.0)).astype(float)) for _ in range(2))
    blocks = nearest_blocks([np.zeros(PATIENTS)], [age], 20)
    return Records((halves[0], halves[1]), disease, blocks, np.full(PATIENTS, "F", object), age, None)


def test_groups_by_conditions_that_only_the_disease_has_are_not_excluded() -> None:
    """The comparison with others cannot see them; severity alone makes no conditions that exclude each other."""
    given = {"groups": (True, 0.0), "gradient": (False, 1.5), "neither": (False, 0.0)}
    found = {
        name: [
            found_in(of_one_disease_alone(np.random.default_rng(seed), groups=groups, severity=severity))
            for seed in range(4)
        ]
        for name, (groups, severity) in given.items()
    }
    assert all(one.p is not None and one.p > 0.02 for name in ("groups", "gradient") for one in found[name])
    own = {name: [one.own for one in some if one.own] for name, some in found.items()}
    assert {(len(some), *{one.traits for one in some}) for some in own.values()} == {(4, 9)}
    assert all(one.p <= 0.02 and one.p_exclude <= 0.02 for one in own["groups"])
    assert all(one.p <= 0.02 and one.p_exclude > 0.05 for one in own["gradient"])
    assert sum(one.p <= 0.02 or one.p_exclude <= 0.02 for one in own["neither"]) <= 1
    assert [one.is_significant for some in (found["groups"], found["gradient"]) for one in some] == [None] * 8
    assert any(one.is_significant is False for one in found["neither"])


def test_two_codes_of_which_each_practice_uses_one_do_not_exclude_each_other() -> None:
    rng = np.random.default_rng(2)
    given = of_one_disease_alone(rng, groups=False)
    practice = rng.integers(0, 20, PATIENTS)
    one, other = (half.toarray() for half in given.halves)
    for half in (one, other):
        half[practice < 10, 0], half[practice >= 10, 1] = 0, 0
    halves = csr_array(one), csr_array(other)
    unknown, known = (
        found_in(replace(given, halves=halves, practice=name)).own for name in (None, practice.astype(object))
    )
    assert unknown is not None
    assert known is not None
    assert unknown.p_exclude <= 0.02 < known.p_exclude


def test_the_code_of_the_disease_itself_is_no_trait_of_its_patients() -> None:
    """Everybody has it; whether it is in a half is a matter of chance. Without a second concept of their own, nothing is tested."""
    rng = np.random.default_rng(5)
    given = of_one_disease_alone(rng, groups=False)
    halves = [half.toarray()[:, 8:] for half in given.halves]
    codes = [rng.poisson(0.8, PATIENTS) * (given.diseases == "a") for _ in range(2)]
    with_code = [csr_array(np.column_stack([code, half])) for code, half in zip(codes, halves, strict=True)]
    assert found_in(replace(given, halves=(with_code[0], with_code[1]))).own is None


def test_a_comparison_without_two_conditions_or_with_a_p_near_1_excludes_nothing() -> None:
    given = of_one_disease_alone(np.random.default_rng(1), groups=True)
    alone = [csr_array(half.toarray()[:, :10]) for half in given.halves]
    found = found_in(replace(given, halves=(alone[0], alone[1])))
    assert (found.p, found.diseases, found.is_significant) == (None, {}, None)
    assert found.own is not None, "tested in the patients of the disease alone"
    assert TraitCorrelations(1.0, {"a": -2.4}, 20).is_significant is None
    assert TraitCorrelations(0.9, {"a": -1.0}, 20).is_significant is False
    assert TraitCorrelations(0.01, {"a": 3.0}, 20, OwnTraits(9, 0.01, 0.01)).is_significant is True


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
    blocks = nearest_blocks([np.zeros(PATIENTS)], [age], 20)
    return Records((halves[0], halves[1]), disease, blocks, np.full(PATIENTS, "F", object), age, None)


def test_comorbidity_of_one_disease_makes_no_subgroup_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Psoriasis patients with eczema have asthma and hay fever; patients chosen for eczema all have eczema, so it tells nothing."""
    given = [of_a_disease(seed=seed) for seed in (1, 2, 3)]
    assert [found_in(one).is_significant for one in given] == [False] * 3
    monkeypatch.setattr(trait_correlations, "BELONGS_FROM", np.inf)
    assert max(found_in(given[0]).diseases.values()) > 6
