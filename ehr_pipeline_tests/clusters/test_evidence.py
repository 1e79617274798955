from dataclasses import replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from ehr_pipeline.clusters.covariates import TIME, Covariates
from ehr_pipeline.clusters.evidence import Evidence, Half, Predictions, excess_interval, split_half, votes
from ehr_pipeline.clusters.matching import PRACTICE
from ehr_pipeline.clusters.methods import cluster
from ehr_pipeline.clusters.trait_correlations import TraitCorrelations

CONCEPTS = 30
Given = tuple[np.ndarray, np.ndarray, tuple[Half, Half], Covariates]


def cohort(planted: bool, seed: int = 0, patients: int = 600, by: str = "") -> Given:
    """Patients with two halves of counts. Everybody's concepts depend on age; with `planted`, also on one of three groups.

    With `by`, the groups are practices, or calendar times.
    """
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 80, patients)
    group = rng.integers(3, size=patients)
    rate = np.full((patients, CONCEPTS), 2.0)
    rate[:, 0] += age / 5
    rate[:, 1] += (100 - age) / 5
    if planted:
        rate[np.arange(patients), 5 + group] += 8
    counts = [rng.poisson(rate / 2) for _ in range(2)]
    # The vectors know the age, as those of an encoder with age positions do: clusters by age can be reproduced perfectly.
    vectors = [
        np.column_stack([np.sqrt(c), np.tile(age / 8, (3, 1)).T]).astype(np.float32)
        for c in (counts[0] + counts[1], *counts)
    ]
    labels = cluster(vectors[0], "spectral", 6, 15, 0)
    everyone = np.ones(patients, bool)
    halves = tuple(
        Half(vector, csr_array(count.astype(float)), everyone)
        for vector, count in zip(vectors[1:], counts, strict=True)
    )
    same, length = np.full(patients, "x"), rng.uniform(1, 10, patients)
    practice = group if by == PRACTICE else rng.integers(4, size=patients)
    middle = 2004.0 + 4 * group if by == TIME else rng.uniform(2000, 2019, patients)
    alike = Covariates(same, same, practice.astype(str), age, counts[0].sum(1), middle, length)
    return vectors[0], labels, (halves[0], halves[1]), alike


def found_in(given: Given) -> Evidence:
    vectors, labels, halves, alike = given
    both, clusters = votes(vectors, labels, halves, 15)
    predictions = Predictions.of(clusters, halves, both, 0)
    return split_half(predictions, labels[both], alike.among(both), permutations=60, seed=0)


GO, STAY = TraitCorrelations(0.01, {"x": 3.0}, 100), TraitCorrelations(0.4, {"x": 0.2}, 100)


def test_planted_groups_are_clear_evidence() -> None:
    found = found_in(cohort(planted=True))
    assert (found.persistent, found.verdict(GO), found.verdict(STAY)) == (True, "clear", "differ")
    assert found.p is not None
    assert found.p < 0.05
    assert found.recognised is not None
    assert found.expected is not None
    assert found.recognised > found.expected + 0.1


def test_patients_are_not_shown_to_differ_if_the_interval_that_is_shown_includes_0() -> None:
    """A permutation p of 0.05 is one-sided, so the page said “differ” beside an excess of 0.06 (-0.01 to 0.13)."""
    found = replace(found_in(cohort(planted=True)), excess=0.06, p=0.04, again={})
    for low, differ in ((-0.01, False), (0.004, False), (0.006, True)):
        assert replace(found, interval=(low, 0.13)).persistent is differ
    assert replace(found, interval=None).persistent


def test_each_cluster_has_a_chance_of_its_own() -> None:
    """Clusters of planted groups are recognised beyond it, those of age alone are not; together they are the chance of all."""
    given = cohort(planted=True)
    found = found_in(given)
    sizes = np.bincount(given[1])
    own, by_chance = (
        np.array([shares[number] for number in range(len(sizes))], float)
        for shares in (found.per_cluster, found.expected_per_cluster)
    )
    assert np.isclose(by_chance @ sizes / sizes.sum(), found.expected)
    assert list(found.patients_per_cluster.values()) == sizes.tolist()
    assert np.ptp(by_chance) > 0.01
    assert (own > by_chance).all()
    by_age = found_in(cohort(planted=False))
    assert by_age.per_cluster[0] is not None
    assert by_age.expected_per_cluster[0] is not None
    assert abs(by_age.per_cluster[0] - by_age.expected_per_cluster[0]) < 0.15


def test_the_interval_of_the_excess_covers_it_in_about_95_of_100_samples() -> None:
    """Of patients whose predictions are right by chance (40 %) or because they are recognised (30 % of the rest)."""
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        chance = rng.uniform(0.2, 0.6, 80)
        hits = (rng.random((2, 80)) < chance + 0.3 * (1 - chance)).mean(axis=0)
        low, high = excess_interval(hits, chance) or (0, 0)
        inside += low <= 0.3 <= high
    assert 0.92 * 400 <= inside <= 0.98 * 400


def test_the_interval_of_certain_recognition_is_not_a_point() -> None:
    low, high = excess_interval(np.ones(30), np.full(30, 0.5)) or (0, 0)
    assert (round(low, 2), high) == (0.77, 1.0), "Wilson's interval of 30 of 30 ends at 0.886"
    low, high = excess_interval(np.zeros(30), np.full(30, 0.5)) or (0, 0)
    assert (low, round(high, 2)) == (-1.0, -0.77)
    assert excess_interval(np.ones(1), np.zeros(1)) is None
    assert excess_interval(np.ones(9), np.ones(9)) is None


def test_clusters_by_age_alone_are_no_evidence_however_well_they_are_reproduced() -> None:
    verdicts = [found_in(cohort(planted=False, seed=seed)) for seed in range(4)]
    assert [(found.persistent, found.verdict(GO)) for found in verdicts] == [(False, "none")] * 4
    assert all(found.excess is not None and abs(found.excess) < 0.05 for found in verdicts)


def test_too_few_patients_are_not_found_in() -> None:
    vectors, labels, halves, alike = cohort(planted=True)
    few = np.zeros(len(labels), bool)
    few[:49] = True
    cut = tuple(Half(half.vectors, half.counts, few) for half in halves)
    found = found_in((vectors, labels, (cut[0], cut[1]), alike))
    assert (found.verdict(GO), found.persistent, found.recognised, found.patients) == ("untested", None, None, 49)
    assert set(found.interval_per_cluster.values()) == {None}
    assert set(found.per_cluster.values()) == set(found.expected_per_cluster.values()) == {None}


def test_without_anybody_to_compare_traits_with_subgroups_are_unfound_in() -> None:
    nobody = TraitCorrelations(None, {}, 0)
    assert found_in(cohort(planted=True)).verdict(nobody) == "differ"
    assert found_in(cohort(planted=False)).verdict(nobody) == "none"


def test_chance_is_that_of_other_patients_of_the_block() -> None:
    """Worked out by hand: two blocks of two and three patients, and one alone."""
    cluster, told = np.array([0, 1, 0, 0, 1, 0]), np.array([0, 0, 0, 1, 1, 0])
    found = Predictions((cluster, cluster), (told, told)).from_other_records(np.array([0, 0, 1, 1, 1, 2]))
    assert np.allclose(found[:5], [1, 0, 0, 0.5, 0.5])
    assert np.isnan(found[5])


def test_recording_by_practice_explains_clusters_that_are_practices() -> None:
    """The same groups of patients: taken for persistent, unless they are the patients of one practice."""
    assert found_in(cohort(planted=True)).explained == []
    found = found_in(cohort(planted=True, by=PRACTICE))
    assert found.again[PRACTICE]["excess"] < 0.05 < 0.2 < found.again[PRACTICE]["exchanged"]
    assert (found.explained, found.persistent, found.verdict(GO)) == ([PRACTICE], False, "none")


def test_matching_on_calendar_time_takes_most_of_what_it_explains() -> None:
    """Not all: of four numbers none is matched exactly, so a strong effect of time can stay above the bound."""
    found = found_in(cohort(planted=True, by=TIME, patients=2400)).again[TIME]
    assert found["excess"] < found["exchanged"] / 3


def test_json_holds_both_verdicts_and_the_balance() -> None:
    told = found_in(cohort(planted=True)).as_dict(np.arange(1, 7), STAY)
    assert (told["persistent"], told["together"], told["verdict"]) == (True, False, "differ")
    assert told["traits"]["p"] == 0.4
    assert 0 < told["balance"]["age"] < 0.5
    assert set(told["per_cluster"]) == set(told["interval_per_cluster"]) == set("123456")
    assert told["interval"][0] < told["excess"] < told["interval"][1]
    assert sum(told["patients_per_cluster"].values()) == told["patients"]


def test_without_names_of_practices_only_time_is_matched_again() -> None:
    given: Any = cohort(planted=True)
    assert set(found_in((*given[:3], replace(given[3], practice=None))).again) == {TIME}
