import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from ehr_pipeline.clusters.methods import METHODS, by_size, cluster
from ehr_pipeline.errors import UserError


def blobs(sizes: tuple[int, ...] = (60, 40, 20), spread: float = 0.15, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = np.eye(len(sizes), 8)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    order = rng.permutation(len(truth))
    return (centres[truth] + rng.normal(size=(len(truth), 8)) * spread).astype(np.float32)[order], truth[order]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spread", [0.02, 0.15])  # with little spread the graph falls into parts, which are joined
def test_planted_groups_are_found_and_numbered_by_size(method: str, spread: float) -> None:
    vectors, truth = blobs(spread=spread)
    labels = cluster(vectors, method, 3, 10, seed=0)
    assert adjusted_rand_score(truth, labels) == 1
    assert np.bincount(labels).tolist() == [60, 40, 20]


@pytest.mark.parametrize("method", METHODS)
def test_lengths_of_vectors_do_not_matter(method: str) -> None:
    vectors, _ = blobs()
    scale = np.random.default_rng(1).uniform(0.1, 10, (len(vectors), 1)).astype(np.float32)
    assert np.array_equal(cluster(vectors, method, 3, 10, 0), cluster(vectors * scale, method, 3, 10, 0))


def test_the_same_seed_gives_the_same_clusters() -> None:
    vectors, _ = blobs(spread=0.4)
    assert np.array_equal(cluster(vectors, "spectral", 3, 10, 0), cluster(vectors, "spectral", 3, 10, 0))


def test_numbers_by_size() -> None:
    assert by_size(np.array([7, 7, 3, 9, 9, 9, 5])).tolist() == [1, 1, 2, 0, 0, 0, 3]


def test_fewer_patients_than_clusters_are_told() -> None:
    with pytest.raises(UserError, match=r"19 patients cannot be divided into 20 clusters. Set clusters.n to at most 6"):
        cluster(np.ones((19, 4), np.float32), "spectral", 20, 15, 0)
