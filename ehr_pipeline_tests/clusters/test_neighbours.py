import numpy as np
import pytest

from ehr_pipeline.clusters import neighbours, scores
from ehr_pipeline.clusters.neighbour_graph import approximate_neighbours, neighbour_graph
from ehr_pipeline.embeddings.geometry import unit_length


@pytest.fixture(autouse=True)
def in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small cases go the way of large ones, unless a test says otherwise."""
    monkeypatch.setattr(neighbours, "FEW", 1)


def points(n: int, width: int = 24, seed: int = 0) -> np.ndarray:
    return unit_length(np.random.default_rng(seed).normal(size=(n, width)).astype(np.float32))


def by_sorting(unit: np.ndarray, k: int) -> np.ndarray:
    cosines = unit.astype(np.float64) @ unit.T.astype(np.float64)
    np.fill_diagonal(cosines, -2)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :k]


@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("n", [2, 3, 33, 300])
def test_neighbours_are_those_of_a_full_sort(n: int, rounded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "multiplies_bytes", lambda: rounded)
    monkeypatch.setattr(neighbours, "TILE", 64)  # several tiles, the last of them filled up
    unit, k = points(n), min(7, n - 1)
    found, cosines = neighbours.exact_neighbours(unit, k)
    assert np.array_equal(found, by_sorting(unit, k))
    assert np.allclose(cosines, np.take_along_axis(unit @ unit.T, found.astype(int), axis=1), atol=1e-6)


def test_few_patients_go_a_shorter_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "FEW", 300)
    assert np.array_equal(neighbours.exact_neighbours(points(300), 7)[0], by_sorting(points(300), 7))


def test_candidates_that_are_cut_back_in_between_lose_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "TILE", 64)
    monkeypatch.setattr(neighbours, "SAMPLE", 320)
    monkeypatch.setattr(neighbours, "CANDIDATES", (200, 1))
    unit = points(700)
    assert np.array_equal(neighbours.exact_neighbours(unit, 5)[0], by_sorting(unit, 5))


@pytest.mark.parametrize("scale", [1.0, 30.0])  # one number that outweighs all others must not spoil the rounding
def test_rounding_is_not_spoilt_by_a_dominating_axis(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "multiplies_bytes", lambda: True)
    raw = np.random.default_rng(1).normal(size=(500, 24)).astype(np.float32)
    raw[:, 0] += scale
    unit = unit_length(raw)
    _, cosines = neighbours.exact_neighbours(unit, 6)
    best = np.take_along_axis(unit @ unit.T, by_sorting(unit, 6), axis=1)
    assert np.allclose(cosines, best, atol=1e-6)


def test_identical_patients_have_each_other() -> None:
    unit = np.repeat(points(3), 200, axis=0)
    found, cosines = neighbours.exact_neighbours(unit, 9)
    assert np.allclose(cosines, 1, atol=1e-5)
    assert (found // 200 == np.arange(600)[:, None] // 200).all()
    assert (found != np.arange(600)[:, None]).all()


@pytest.mark.parametrize(("n", "k"), [(5, 5), (40, 3), (1000, 7)])
def test_neighbours_of_new_patients(n: int, k: int) -> None:
    unit, queries = points(n), points(30, seed=5)
    wanted = np.argsort(-(queries @ unit.T), axis=1, kind="stable")[:, :k]
    assert np.array_equal(neighbours.nearest_of(queries, unit, k), wanted)


@pytest.mark.parametrize("spread", [0.1, 10.0])  # dense groups, and no groups: hardest for an index
def test_the_approximate_index_finds_nearly_all(spread: float) -> None:
    centres = points(12, 16, seed=2)
    noise = np.random.default_rng(3).normal(size=(3000, 16)).astype(np.float32) * spread
    unit = unit_length(centres[np.arange(3000) % 12] + noise)
    found, exact = approximate_neighbours(unit, 9, 0), by_sorting(unit, 9)
    recall = np.mean(
        [len(set(one) & set(other)) / 9 for one, other in zip(found.tolist(), exact.tolist(), strict=True)]
    )
    assert recall > 0.95
    assert (found != np.arange(3000)[:, None]).all()


def test_the_graph_is_that_of_scikit_learn() -> None:
    from sklearn.neighbors import kneighbors_graph

    unit = points(200)
    theirs = kneighbors_graph(unit, 10, include_self=True)
    theirs = 0.5 * (theirs + theirs.T).toarray()
    np.fill_diagonal(theirs, 0)  # loops, which a Laplacian leaves out
    ours = neighbour_graph(unit, 10)
    assert ours.parts == 1
    assert np.array_equal(ours.links.toarray(), theirs)
