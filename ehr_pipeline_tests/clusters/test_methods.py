import sys

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


OF_A_NUMBER = ("spectral", "agglomerative", "kmeans")  # the others choose the number of clusters themselves


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("spread", [0.02, 0.15])  # with little spread the graph falls into parts, which are joined
def test_planted_groups_are_found_and_numbered_by_size(method: str, spread: float) -> None:
    if method == "leiden":
        pytest.importorskip("igraph", reason="igraph is not installed (the extra `clusters`)")
    vectors, truth = blobs(spread=spread)
    labels = cluster(vectors, method, 3, 10, seed=0)
    assert set(labels) <= {-1, *range(9)}
    if method in OF_A_NUMBER:
        assert adjusted_rand_score(truth, labels) == 1
        assert np.bincount(labels).tolist() == [60, 40, 20]
    else:
        assert adjusted_rand_score(truth, labels) > 0.5


@pytest.mark.parametrize("method", OF_A_NUMBER)
def test_lengths_of_vectors_do_not_matter(method: str) -> None:
    vectors, _ = blobs()
    scale = np.random.default_rng(1).uniform(0.1, 10, (len(vectors), 1)).astype(np.float32)
    assert np.array_equal(cluster(vectors, method, 3, 10, 0), cluster(vectors * scale, method, 3, 10, 0))


def test_leiden_is_the_same_twice_and_needs_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, _ = blobs(spread=0.4)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "igraph", None)
        with pytest.raises(UserError, match=r"pip install 'ehr-pipeline\[clusters\]'"):
            cluster(vectors, "leiden", 3, 10, 0)
    pytest.importorskip("igraph", reason="igraph is not installed (the extra `clusters`)")
    assert np.array_equal(cluster(vectors, "leiden", 3, 10, 0), cluster(vectors, "leiden", 3, 10, 0))


def test_the_same_seed_gives_the_same_clusters() -> None:
    vectors, _ = blobs(spread=0.4)
    assert np.array_equal(cluster(vectors, "spectral", 3, 10, 0), cluster(vectors, "spectral", 3, 10, 0))


def test_numbers_by_size() -> None:
    assert by_size(np.array([7, 7, 3, 9, 9, 9, 5])).tolist() == [1, 1, 2, 0, 0, 0, 3]
    assert by_size(np.array([-1, 4, 4, -1, 2])).tolist() == [-1, 0, 0, -1, 1]
    assert by_size(np.array([-1, -1])).tolist() == [-1, -1]


def test_fewer_patients_than_clusters_are_told() -> None:
    with pytest.raises(
        UserError, match=r"About 20 patients cannot be divided into 20 clusters. Set clusters.n to at most 6"
    ):
        cluster(np.ones((19, 4), np.float32), "spectral", 20, 15, 0)


@pytest.mark.parametrize("method", OF_A_NUMBER)
def test_what_cannot_be_divided_is_told(method: str) -> None:
    same = np.ones((50, 4), np.float32)
    with pytest.raises(UserError, match="about 50 patients have only 1 different vectors"):
        cluster(same, method, 3, 15, 0)
    with pytest.raises(UserError, match="Fewer than 10 patients cannot be divided into 2"):
        cluster(same[:1], method, 2, 15, 0)
    broken = same.copy()
    broken[3, 1] = np.nan
    with pytest.raises(UserError, match="Fewer than 10 of about 50 patient vectors contain NaN"):
        cluster(broken, method, 3, 15, 0)


@pytest.mark.parametrize("method", OF_A_NUMBER)
@pytest.mark.parametrize("patients", [3, 20])
def test_as_many_clusters_as_patients(method: str, patients: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(patients, 8)).astype(np.float32)
    labels = cluster(vectors, method, patients if patients > 3 else 2, 15, 0)
    assert len(labels) == patients
