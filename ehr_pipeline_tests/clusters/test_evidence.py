import numpy as np
from scipy.sparse import csr_array

from ehr_pipeline.clusters.evidence import Half, matched_blocks, split_half
from ehr_pipeline.clusters.methods import cluster

CONCEPTS = 30


def cohort(
    planted: bool, seed: int = 0, patients: int = 600
) -> tuple[np.ndarray, np.ndarray, tuple[Half, Half], np.ndarray]:
    """Patients with two halves of counts. Everybody's concepts depend on age; with `planted`, also on one of three groups."""
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
    return vectors[0], labels, (halves[0], halves[1]), matched_blocks([np.zeros(patients, int)], [age])


def test_planted_groups_are_clear_evidence() -> None:
    found = split_half(*cohort(planted=True), neighbours=15, permutations=60, seed=0)
    assert found.verdict == "clear"
    assert found.p is not None
    assert found.p < 0.05
    assert found.recognised is not None
    assert found.expected is not None
    assert found.recognised > found.expected + 0.1


def test_each_cluster_has_a_chance_of_its_own() -> None:
    """Clusters of planted groups are recognised beyond it, those of age alone are not; together they are the chance of all."""
    given = cohort(planted=True)
    found = split_half(*given, neighbours=15, permutations=60, seed=0)
    sizes = np.bincount(given[1])
    own, by_chance = (
        np.array([shares[number] for number in range(len(sizes))], float)
        for shares in (found.per_cluster, found.expected_per_cluster)
    )
    assert np.isclose(by_chance @ sizes / sizes.sum(), found.expected)
    assert np.ptp(by_chance) > 0.01
    assert (own > by_chance).all()
    by_age = split_half(*cohort(planted=False), neighbours=15, permutations=60, seed=0)
    assert by_age.per_cluster[0] is not None
    assert by_age.expected_per_cluster[0] is not None
    assert abs(by_age.per_cluster[0] - by_age.expected_per_cluster[0]) < 0.15


def test_clusters_by_age_alone_are_no_evidence_however_well_they_are_reproduced() -> None:
    verdicts = [
        split_half(*cohort(planted=False, seed=seed), neighbours=15, permutations=60, seed=0) for seed in range(4)
    ]
    assert [found.verdict for found in verdicts] == ["none"] * 4
    assert all(found.excess is not None and abs(found.excess) < 0.05 for found in verdicts)


def test_too_few_patients_are_not_tested() -> None:
    vectors, labels, halves, blocks = cohort(planted=True)
    few = np.zeros(len(labels), bool)
    few[:49] = True
    cut = tuple(Half(half.vectors, half.counts, few) for half in halves)
    found = split_half(vectors, labels, (cut[0], cut[1]), blocks, neighbours=15, permutations=60, seed=0)
    assert (found.verdict, found.recognised, found.patients) == ("untested", None, 49)
    assert set(found.per_cluster.values()) == set(found.expected_per_cluster.values()) == {None}


def test_blocks_hold_at_most_twenty_similar_patients() -> None:
    rng = np.random.default_rng(0)
    sex, age = rng.choice(["F", "M"], 500), rng.uniform(0, 90, 500)
    blocks = matched_blocks([sex, np.zeros(500)], [age])
    assert np.bincount(blocks).max() <= 20
    for block in np.unique(blocks):
        assert len(set(sex[blocks == block])) == 1
        assert np.ptp(age[blocks == block]) < 20
