"""Moves to be expected: patients who grow older, deviate by chance or come down with what others get, against those who change."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ehr_pipeline.trajectories import expected, transitions
from ehr_pipeline.trajectories.expected import Ends

N = 1500
TRAITS = 4 * np.eye(4)
CENTRES = np.array([[age, *trait, onset] for age in (0, 3) for trait in TRAITS for onset in (0, 4)])
"""Clusters: two ages, of each four traits, of each without and with a diagnosis that begins at any age."""


def nearest(vectors: NDArray[np.float32]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = ((vectors[:, None] - CENTRES) ** 2).sum(2).argmin(1)
    return found


def people(change: float = 0, onset: float = 0.1, seed: int = 0) -> Ends:
    """Patients grow older by ten years, and the diagnosis begins in some. Of those of trait 0, `change` take on trait 1."""
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 80, N)
    ages = np.stack([age, age + rng.uniform(7, 13, N)], axis=1)
    trait = rng.integers(4, size=N)
    later = np.where((trait == 0) & (rng.random(N) < change), 1, trait)
    begun = 4.0 * (rng.random(N) < 0.2)
    after = np.where(rng.random(N) < onset, 4.0, begun)

    def window(side: int, trait: NDArray[np.int64], diagnosis: NDArray[np.float64]) -> NDArray[np.float32]:
        place = np.column_stack([(ages[:, side] - 30) / 15, TRAITS[trait], diagnosis])
        return (place + rng.normal(0, 0.8, place.shape)).astype(np.float32)

    categories = (np.zeros(N), rng.integers(2, size=N))
    return Ends(window(0, trait, begun), window(1, later, after), categories, ages, rng.normal(size=(N, 1)))


def log_p(ends: Ends) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The p values of all moves, by what is expected, and if nothing were."""
    left, entered = nearest(ends.first), nearest(ends.last)
    count = len(CENTRES)
    counts = np.zeros((count, count), np.int64)
    np.add.at(counts, (left, entered), 1)
    due = expected.flows(ends, left, count, lambda rows, vectors: nearest(vectors))
    assert due is not None
    return transitions.log_p_beyond(counts, due), transitions.log_p_beyond(counts, np.zeros((count, count)))


def bonferroni(found: NDArray[np.float64]) -> float:
    """The smallest p value among all pairs that were tested, times their number."""
    return float(np.exp(np.nanmin(found)) * np.isfinite(found).sum() / 2)


@pytest.mark.parametrize("seed", range(3))
def test_who_only_grows_older_does_not_change(seed: int) -> None:
    """Neither age nor a diagnosis that begins in anybody: both move dozens of patients one way, and none back."""
    beyond, naive = log_p(people(seed=seed))
    assert bonferroni(naive) < 1e-4, "otherwise nothing is tested"
    assert bonferroni(beyond) > 0.05


@pytest.mark.parametrize("seed", range(3))
def test_who_leaves_one_group_for_another_does(seed: int) -> None:
    beyond, _ = log_p(people(change=0.4, seed=seed))
    tested = np.isfinite(beyond).sum() / 2
    found = {
        (left, entered) for left, entered in np.argwhere(np.exp(beyond) * tested < 0.05).tolist() if left < entered
    }
    assert {(0, 2), (8, 10)} <= found
    trait = {(left % 8 // 2, entered % 8 // 2) for left, entered in found}
    assert trait == {(0, 1)}


def test_few_patients_tell_nothing() -> None:
    ends = people()
    few = Ends(
        ends.first[:40], ends.last[:40], tuple(c[:40] for c in ends.categories), ends.ages[:40], ends.covariates[:40]
    )
    assert expected.flows(few, nearest(few.first), 4, lambda rows, vectors: nearest(vectors)) is None


def test_donors_are_others_of_the_same_categories() -> None:
    """The nearest by age; in a small cell some again; nobody for who is alone; and equal patients do not donate to themselves."""
    count = 40
    disease = np.array(["a"] * 36 + ["b"] * 3 + ["c"])
    age = np.append(np.zeros(20), np.arange(20.0) + 30)
    ends = Ends(
        np.zeros((count, 2), np.float32),
        np.zeros((count, 2), np.float32),
        (disease, np.array(["F"] * count)),
        np.stack([age, age], axis=1),
        np.zeros((count, 1)),
    )
    donors = expected._donors(ends)
    assert (donors != np.arange(count)[:, None]).all()
    assert (donors[:20] < 20).all()
    assert set(donors[30].tolist()) == {25, 26, 27, 28, 29, 31, 32, 33, 34, 35}
    assert set(donors[37].tolist()) == {36, 38}
    assert (donors[39] == -1).all()
