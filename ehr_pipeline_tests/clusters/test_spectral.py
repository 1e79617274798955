import warnings

import numpy as np
import pytest
from scipy.linalg import qr
from scipy.sparse import csr_array, random_array
from sklearn.cluster import SpectralClustering
from sklearn.metrics import adjusted_rand_score

from ehr_pipeline.clusters import eigenvectors
from ehr_pipeline.clusters.neighbour_graph import neighbour_graph
from ehr_pipeline.clusters.spectral import pivots, spectrum
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline_tests.clusters.test_methods import blobs


def rings(n: int = 1500, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Four groups on curves in 32 dimensions, which k-means cannot tell apart."""
    rng = np.random.default_rng(seed)
    truth, turn = rng.integers(4, size=n), rng.random(n) * 2 * np.pi
    planes, centres = rng.normal(size=(4, 2, 32)), rng.normal(size=(4, 32)) * 0.2
    x = centres[truth] + np.cos(turn)[:, None] * planes[truth, 0] + np.sin(turn)[:, None] * planes[truth, 1]
    return unit_length((x + rng.normal(size=x.shape) * 0.3).astype(np.float32)), truth


def theirs(unit: np.ndarray, n: int) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns where the graph falls apart
        model = SpectralClustering(
            n, affinity="nearest_neighbors", n_neighbors=10, assign_labels="cluster_qr", random_state=0
        )
        return model.fit_predict(unit)


@pytest.mark.parametrize("spread", [0.15, 0.4])
@pytest.mark.parametrize("sizes", [(60, 40, 20), (500, 300, 200)])  # solved whole, and iteratively
def test_clusters_are_those_of_scikit_learn(sizes: tuple[int, ...], spread: float) -> None:
    unit = unit_length(blobs(sizes, spread)[0])
    ours = spectrum(neighbour_graph(unit, 10), 3, 0).labels(3)
    assert adjusted_rand_score(ours, theirs(unit, 3)) == 1


def test_curved_groups_are_found() -> None:
    unit, truth = rings()
    ours = spectrum(neighbour_graph(unit, 10), 4, 0).labels(4)
    assert adjusted_rand_score(ours, truth) > 0.99
    assert adjusted_rand_score(ours, theirs(unit, 4)) > 0.995


def test_eigenpairs_are_those_of_a_full_solver() -> None:
    unit, _ = rings()
    graph = neighbour_graph(unit, 10)
    found = spectrum(graph, 4, 0, more=6).leading
    root = np.sqrt(graph.links.sum(axis=1))
    dense = graph.links.toarray() / root[:, None] / root
    values, vectors = np.linalg.eigh(dense)
    assert found.products > 0
    assert np.allclose(found.values[:4], values[::-1][:4], atol=1e-5)
    assert found.converged[:4].all()
    exact = np.linalg.norm(dense @ found.vectors - found.vectors * found.values, axis=0)
    assert np.allclose(found.residuals, exact, atol=1e-5)
    overlap = np.linalg.svd(vectors[:, -4:].T @ found.vectors[:, :4])[1]
    assert overlap.min() > 0.999


def test_what_did_not_converge_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eigenvectors, "PRODUCTS", 40)
    noise = random_array((3000, 3000), density=0.005, rng=np.random.default_rng(0))
    noise = csr_array(noise + noise.T)
    root = np.sqrt(np.maximum(noise.sum(axis=1), 1e-9))
    noise.data = noise.data / np.repeat(root, np.diff(noise.indptr)) / root[noise.indices]
    found = eigenvectors.leading(noise, 20, 0)
    assert not found.converged.all()
    assert found.residuals.max() > eigenvectors.TOLERANCE


def test_the_same_seed_gives_the_same_bytes() -> None:
    unit, _ = rings()
    graph = neighbour_graph(unit, 10)
    assert np.array_equal(spectrum(graph, 4, 0).coordinates, spectrum(graph, 4, 0).coordinates)


def test_parts_of_a_graph_are_joined_and_counted() -> None:
    unit = unit_length(blobs((400, 300, 200), 0.02)[0])
    graph = neighbour_graph(unit, 10)
    found = spectrum(graph, 3, 0)
    assert graph.parts == 3
    assert found.leading.converged.all()
    assert adjusted_rand_score(found.labels(3), theirs(unit, 3)) == 1


@pytest.mark.parametrize("k", [1, 2, 7, 20])
def test_pivots_are_those_of_the_whole_decomposition(k: int) -> None:
    coordinates = np.random.default_rng(k).normal(size=(400, k)) * np.geomspace(1, 1e-3, k)
    assert np.array_equal(pivots(coordinates), qr(coordinates.T, mode="r", pivoting=True)[1][:k])


def test_pivots_are_different_patients_even_where_fewer_are_different() -> None:
    coordinates = np.repeat(np.random.default_rng(0).normal(size=(3, 5)), 4, axis=0)
    assert len(set(pivots(coordinates).tolist())) == 5
