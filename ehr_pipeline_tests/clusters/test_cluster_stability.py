import numpy as np
import pytest

from ehr_pipeline.clusters import cluster_stability, comparison
from ehr_pipeline.clusters.methods import by_size
from ehr_pipeline.clusters.neighbour_graph import neighbour_graph
from ehr_pipeline.clusters.spectral import spectrum
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline_tests.clusters.test_methods import blobs


def sampling(count: int = 6, patients: int = 1000) -> cluster_stability.Sampling:
    return cluster_stability.Sampling(count, patients, neighbours=10, seed=0)


def examined(unit: np.ndarray, n: int, most: int) -> tuple[np.ndarray, cluster_stability.ClusterStability]:
    whole = spectrum(neighbour_graph(unit, 10), n, 0, most - n)
    labels = by_size(whole.labels(n))
    return labels, cluster_stability.examine(unit, labels, "spectral", whole, sampling())


def test_jaccard_of_two_divisions() -> None:
    one, other = np.array([0, 0, 0, 1, 1, -1]), np.array([0, 0, 1, 1, -1, 1])
    assert np.allclose(cluster_stability.jaccard(one, other), [[2 / 3, 1 / 5], [0, 1 / 4]])


def test_planted_groups_are_stable_and_their_number_stands_out() -> None:
    unit = unit_length(blobs((150, 120, 90), 0.1)[0])
    _, found = examined(unit, 3, 6)
    assert found.clusters.min() > 0.95
    assert (found.spread[0] <= found.clusters + 1e-12).all()
    assert (found.clusters <= found.spread[1] + 1e-12).all()
    assert np.nanmin(found.patients) > 0.8
    assert found.over_n.shape == (6, 5)
    assert found.over_n.mean(axis=0).argmax() == 1  # three clusters


def test_a_group_that_is_cut_at_random_is_flagged() -> None:
    unit = unit_length(blobs((150, 150), 0.1)[0])
    _, found = examined(unit, 6, 6)
    words = [cluster_stability.words(value, 0.6) for value in found.clusters]
    assert words.count("unstable") + words.count("doubtful") >= 4
    assert found.over_n.mean(axis=0).argmax() == 0  # two clusters


def test_the_spread_is_of_the_subsets_that_held_the_cluster() -> None:
    values = np.array([[0.1 * n, np.nan if n else 0.5, np.nan] for n in range(5)])
    assert np.allclose(cluster_stability._spread(values, 3)[:, :2].T, [[0.01, 0.39], [0.5, 0.5]])
    assert np.isnan(cluster_stability._spread(values, 3)[:, 2]).all()


def test_words() -> None:
    assert [cluster_stability.words(value, 0.6) for value in (0.59, 0.6, 0.74, 0.75, np.nan)] == [
        "unstable",
        "doubtful",
        "doubtful",
        "stable",
        "untested",
    ]


@pytest.mark.parametrize(("n", "patients"), [(100, 1000), (101, 30), (1000, 70)])
def test_subsets_draw_everybody_equally_often(n: int, patients: int) -> None:
    drawn = np.zeros(n, int)
    for rows in cluster_stability.subsets(n, sampling(20, patients)):
        assert len(np.unique(rows)) == len(rows) == min(n // 2, patients)
        drawn[rows] += 1
    assert np.ptp(drawn) <= 1


def test_too_few_patients_are_not_tested() -> None:
    unit = unit_length(blobs((10, 8, 6), 0.1)[0])
    _, found = examined(unit, 3, 4)
    assert np.isnan(found.clusters).all()
    assert found.spread.shape == (2, 3)
    assert np.isnan(found.spread).all()
    assert np.isnan(found.patients).all()


@pytest.mark.parametrize("method", ["spectral", "kmeans"])
def test_subsets_smaller_than_the_number_of_clusters(method: str) -> None:
    unit = unit_length(np.random.default_rng(0).normal(size=(32, 8)).astype(np.float32))
    whole = spectrum(neighbour_graph(unit, 10), 20, 0, 11)
    found = cluster_stability.examine(unit, by_size(whole.labels(20)), method, whole, sampling())
    assert np.isfinite(found.patients).all()
    assert found.over_n.shape[0] == 6
    row = comparison.row(method, unit, whole.labels(20), whole.labels(20), sampling(), n=20, again=method)
    assert row.stability is not None


def test_methods_beside_each_other() -> None:
    vectors, truth = blobs((150, 120, 90), 0.1)
    unit, labels = unit_length(vectors), by_size(truth)
    same = comparison.row("kmeans", unit, labels, labels, sampling(), n=3, again="kmeans")
    assert (same.clusters, same.smallest, same.largest, same.unassigned) == (3, 90, 150, 0)
    assert same.agreement == 1
    assert same.stability is not None
    assert same.silhouette is not None
    assert min(same.stability, same.silhouette) > 0.7
    noise = np.random.default_rng(0).integers(3, size=len(labels))
    chance = comparison.row("kmeans", unit, noise, labels, sampling(), n=3, again="kmeans")
    assert chance.stability is not None
    assert chance.silhouette is not None
    assert max(abs(chance.agreement), chance.silhouette) < 0.05
    assert chance.stability < 0.6
    nobody = comparison.row("hdbscan", unit, np.full(len(labels), -1), labels, sampling(), n=3, again="kmeans")
    assert (nobody.clusters, nobody.unassigned, nobody.stability, nobody.silhouette) == (0, 360, None, None)


def test_prediction_strength_is_high_for_planted_groups_only() -> None:
    unit = unit_length(blobs((150, 120, 90), 0.1)[0])
    _, found = examined(unit, 3, 6)
    assert found.strength.shape == (3, 5)
    assert found.strength[:, 1].min() > 0.9
    assert found.strength[:, 3:].max() < 0.8


def test_the_cluster_that_is_least_together_counts() -> None:
    clusters, predicted = np.array([0, 0, 0, 0, 1, 1, 1, 2]), np.array([1, 1, 0, 0, 2, 2, 2, 0])
    assert cluster_stability.least_pair_agreement(clusters, predicted) == pytest.approx(4 / 12)
    assert np.isnan(cluster_stability.least_pair_agreement(np.array([0, 1]), np.array([0, 1])))
