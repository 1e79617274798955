from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from ehr_pipeline.clusters import groups, marker_concepts
from ehr_pipeline.clusters.groups import Groups
from ehr_pipeline.clusters.mark_test import Halves, root_shares
from ehr_pipeline.clusters.matching import Matching

CONCEPTS = 60


class Cohort:
    """Patients of one disease in four kinds, each recording concepts of its own more often, and all more of some with age."""

    def __init__(self, seed: int, patients: int = 1600) -> None:
        self.rng = np.random.default_rng(seed)
        self.kind, self.age = self.rng.integers(4, size=patients), self.rng.uniform(20, 80, patients)
        self.rate = np.full((patients, CONCEPTS), 0.4)
        for kind in range(4):
            self.rate[np.ix_(self.kind == kind, [10 * kind, 10 * kind + 1, 10 * kind + 2])] *= 4
        self.rate[:, 50] *= self.age / 20

    def found(self, labels: np.ndarray, disease: np.ndarray | None = None) -> Groups:
        """Groups of clusters `labels` (n,), which one in twenty halves misses."""
        count = int(labels.max()) + 1
        votes = [np.where(self.rng.random(len(labels)) < 0.05, self.rng.permutation(labels), labels) for _ in range(2)]
        counts = [csr_array(self.rng.poisson(self.rate / 2).astype(float)) for _ in range(2)]
        halves = Halves((votes[0], votes[1]), (root_shares(counts[0]), root_shares(counts[1])))
        everybody = np.full(len(labels), "d")
        diseases = everybody if disease is None else disease
        alike = Matching(((diseases, everybody),), (self.age,))
        tested = marker_concepts.test(halves, alike.blockings(), counts[0] + counts[1], labels, np.arange(1, count + 1))
        return groups.find(tested, halves, alike, groups.main_diseases(diseases, labels, count))


@pytest.mark.parametrize("seed", range(4))
def test_kinds_that_are_cut_by_age_are_one_group_each(seed: int) -> None:
    cohort = Cohort(seed)
    labels = 2 * cohort.kind + (cohort.age > 50)
    assert cohort.found(labels).parts == ((1, 2), (3, 4), (5, 6), (7, 8))


@pytest.mark.parametrize("seed", range(4))
def test_different_kinds_stay_apart_also_where_they_are_small(seed: int) -> None:
    cohort = Cohort(seed, patients=260)
    found = cohort.found(cohort.kind)
    assert found.parts == ((1,), (2,), (3,), (4,))
    assert found.of(3) == (3,)


def test_what_tells_two_parts_apart_makes_them_two_groups() -> None:
    """They share three marks, but one of them records another concept far more often."""
    cohort = Cohort(0)
    cut = (cohort.kind == 0) & (cohort.rng.random(len(cohort.kind)) < 0.5)
    cohort.rate[np.ix_(cut, [55])] *= 6
    found = cohort.found(np.where(cut, 4, cohort.kind))
    assert found.parts == ((1,), (2,), (3,), (4,), (5,))
    assert 55 in found.apart[1, 5]


def test_clusters_of_different_diseases_are_never_one_group() -> None:
    cohort = Cohort(1)
    labels = 2 * cohort.kind + (cohort.age > 50)
    found = cohort.found(labels, np.where(cohort.age > 50, "old", "young"))
    assert all(len(group) == 1 for group in found.parts)


def test_clusters_that_nothing_marks_are_one_group() -> None:
    cohort = Cohort(2)
    cohort.rate[:] = 0.4
    assert cohort.found(cohort.rng.integers(4, size=len(cohort.age))).parts == ((1, 2, 3, 4),)


def test_a_chain_is_no_group() -> None:
    joined = groups._joined(3, {(0, 1): 1.0, (1, 2): 2.0})
    assert sorted(map(sorted, joined)) == [[0, 1], [2]]


def test_too_few_patients_have_no_groups() -> None:
    cohort = Cohort(3, patients=40)
    assert cohort.found(cohort.kind).parts == ((1,), (2,), (3,), (4,))


def test_groups_are_read_as_they_were_written(tmp_path: Path) -> None:
    found = Groups(((1, 3), (2,)), {(1, 2): (7, 9), (1, 3): ()})
    found.write(tmp_path)
    assert Groups.read(tmp_path) == found
