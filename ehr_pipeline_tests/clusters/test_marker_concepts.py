from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from ehr_pipeline.clusters import marker_concepts
from ehr_pipeline.clusters.mark_test import Halves, deviates, log_p_of, moments, root_shares
from ehr_pipeline.clusters.marker_concepts import Marks
from ehr_pipeline.errors import Damaged

CONCEPTS, CLUSTERS = 400, 8


class Cohort:
    """Patients in blocks, with halves of sparse records: many concepts are rare, and a block has habits of its own."""

    def __init__(self, seed: int, patients: int = 800) -> None:
        rng = np.random.default_rng(seed)
        self.rng, self.group = rng, rng.integers(CLUSTERS, size=patients)
        self.blocks, self.practice = rng.integers(patients // 16, size=patients), rng.integers(20, size=patients)
        self.rate = np.tile(np.geomspace(0.5, 0.01, CONCEPTS), (patients, 1))
        self.rate[:, 0] *= self.blocks % CLUSTERS

    def halves(self, votes: np.ndarray | None = None) -> Halves:
        """Halves whose votes are the group in nine of ten halves, and somebody else's in the others."""
        voted = []
        for _ in range(2):
            wrong = self.rng.random(len(self.group)) < 0.1
            own = self.group if votes is None else votes
            voted.append(np.where(wrong, self.rng.permutation(own), own))
        one, other = (root_shares(csr_array(self.rng.poisson(self.rate).astype(float))) for _ in range(2))
        return Halves((voted[0], voted[1]), (one, other))

    def test(self, halves: Halves, *blockings: np.ndarray) -> Marks:
        counts = csr_array((halves.roots[0] + halves.roots[1]) > 0).astype(float)
        return marker_concepts.test(halves, blockings or (self.blocks,), counts, self.group, np.arange(1, CLUSTERS + 1))


def test_a_planted_concept_marks_its_cluster_and_no_other() -> None:
    cohort = Cohort(0)
    cohort.rate[cohort.group == 3, 40] *= 6
    cohort.rate[cohort.group == 5, 2] /= 6
    found = cohort.test(cohort.halves())
    assert [found.ranked(number, more=True) for number in range(1, 9)] == [[], [], [], [40], [], [], [], []]
    assert [found.ranked(number, more=False) for number in range(1, 9)] == [[], [], [], [], [], [2], [], []]
    assert found.ranked(99, more=True) == []


def test_clusters_dealt_at_random_have_no_marks() -> None:
    """A normal p value, without the skewness of rare concepts, gives marks in every third of these cohorts."""
    cohorts = [Cohort(seed) for seed in range(40)]
    found = [cohort.test(cohort.halves(cohort.rng.permutation(cohort.group))) for cohort in cohorts]
    assert sum(bool((marked.more | marked.less).any()) for marked in found) <= 2


def test_what_the_blocks_are_made_of_marks_nothing() -> None:
    cohort = Cohort(1)
    halves = cohort.halves(cohort.blocks % CLUSTERS)
    everybody = np.zeros(len(cohort.blocks), int)
    assert (cohort.test(halves, everybody).more[:, 0]).any()
    assert not (cohort.test(halves).more[:, 0]).any()


def test_a_concept_has_to_pass_in_every_set_of_blocks() -> None:
    cohort = Cohort(2)
    cohort.group = cohort.practice % CLUSTERS
    cohort.rate[cohort.practice == 3, 40] *= 20
    halves = cohort.halves()
    assert cohort.test(halves, cohort.blocks).ranked(4, more=True) == [40]
    assert cohort.test(halves, cohort.blocks, cohort.practice).ranked(4, more=True) == []
    alone, both = deviates(halves, [cohort.blocks], CLUSTERS), deviates(halves, [cohort.blocks] * 2, CLUSTERS)
    assert np.array_equal(alone, both)


def test_moments_are_those_of_all_permutations_within_blocks() -> None:
    rng = np.random.default_rng(3)
    blocks, patients = np.repeat(np.arange(12), 5), 60
    state = rng.integers(3, size=patients)
    votes = tuple(np.where(rng.random(patients) < 0.3, rng.integers(3, size=patients), state) for _ in range(2))
    rates = np.where(np.arange(4) == state[:, None], 4.0, 0.4)
    roots = tuple(root_shares(csr_array(rng.poisson(rates).astype(float))) for _ in range(2))
    excess, expected, variance, skewness = moments(Halves((votes[0], votes[1]), (roots[0], roots[1])), blocks, 3)
    sums = []
    for _ in range(6000):
        order = np.lexsort((rng.random(patients), blocks))
        member = [np.eye(3)[vote[order]].T for vote in votes]
        sums.append(member[0] @ roots[1].toarray() + member[1] @ roots[0].toarray())
    drawn = np.array(sums)
    member = [np.eye(3)[vote].T for vote in votes]
    actual = member[0] @ roots[1].toarray() + member[1] @ roots[0].toarray()
    assert actual - drawn.mean(0) == pytest.approx(excess, abs=0.1)
    assert actual - excess == pytest.approx(expected)
    assert drawn.var(0) == pytest.approx(variance, rel=0.12)
    centred = (drawn - drawn.mean(0)) / drawn.std(0)
    assert ((centred**3).mean(0) < skewness + 0.12).all()


@pytest.mark.parametrize("change", [300, -15])
def test_shares_that_change_because_another_concept_does_are_no_marks(change: int) -> None:
    """Shares add up to one: half of a cluster's records are one concept, or it lacks one that others have often."""
    cohort = Cohort(4)
    cohort.rate[:, :5], cohort.rate[:, 10] = 8, 16
    cohort.rate[cohort.group == 0, 10] += change
    found = cohort.test(cohort.halves())
    assert np.abs(found.deviate[0, :5]).max() < 2.5
    assert found.ranked(1, more=change > 0) == [10]
    assert found.ranked(1, more=change < 0) == []


def test_too_few_patients_are_not_tested_and_rare_concepts_neither(tmp_path: Path) -> None:
    few = Cohort(5, patients=48)
    found = few.test(few.halves())
    assert (found.tokens.size, found.ranked(1, more=True)) == (0, [])
    found.write(tmp_path)
    assert Marks.read(tmp_path).ranked(1, more=True) == []
    some = Cohort(6)
    some.rate[:, 50] = 0
    assert 50 not in some.test(some.halves()).tokens


def test_marks_are_read_as_they_were_written(tmp_path: Path) -> None:
    cohort = Cohort(7)
    cohort.rate[cohort.group == 3, 40] *= 6
    found = cohort.test(cohort.halves())
    found.write(tmp_path)
    back = Marks.read(tmp_path)
    assert all(
        np.array_equal(getattr(back, name), getattr(found, name))
        for name in ("numbers", "tokens", "deviate", "log_p", "log_q", "more", "less")
    )
    with pytest.raises(Damaged):
        Marks.read(tmp_path / "elsewhere")


def test_p_values_do_not_underflow() -> None:
    assert log_p_of(np.array([0.0, 1.959964, -60.0])) == pytest.approx([0, np.log(0.05), -1804.32], abs=1e-2)
