"""Clusters that are a habit of some practices."""

import numpy as np

from ehr_pipeline.reports.bias_audit import effect
from ehr_pipeline.reports.statements.audit import of_some_practices
from ehr_pipeline.reports.uneven_clusters import uneven


def cohort(seed: int, share: float) -> tuple[np.ndarray, np.ndarray]:
    """1,200 patients of twelve practices in ten clusters; a share of cluster 3 is from the first five practices alone."""
    rng = np.random.default_rng(seed)
    practices, labels = rng.integers(0, 12, 1200), rng.integers(0, 10, 1200)
    some = (labels == 3) & (rng.random(1200) < share)
    practices[some] = rng.integers(0, 5, int(some.sum()))
    return practices.astype(str), labels


def test_one_cluster_of_some_practices_is_found_where_all_clusters_together_show_little() -> None:
    """Two codes for one diagnosis, each used by some practices, made a cluster of which the page said "little about practice"."""
    for seed in range(5):
        practices, labels = cohort(seed, share=0.75)
        whole = effect("practice", practices, labels, np.zeros((1200, 2)), diseases=np.repeat("x", 1200), seed=0)
        assert whole.words in ("small", "by chance")
        assert uneven(practices, labels, seed=seed) == [3]


def test_practices_that_have_nothing_to_do_with_clusters_are_hardly_ever_named() -> None:
    assert sum(bool(uneven(*cohort(seed, share=0.0), seed=seed)) for seed in range(40)) <= 2


def test_the_limit_is_that_of_all_clusters_together() -> None:
    """Of 40 clusters of twelve patients, some differ by a fifth from the rest by chance on nearly every page."""
    rng = np.random.default_rng(0)
    named = [bool(uneven(rng.integers(0, 6, 480).astype(str), np.arange(480) % 40, seed=seed)) for seed in range(100)]
    assert sum(named) <= 9


def test_small_clusters_and_single_practices_name_nobody() -> None:
    rng = np.random.default_rng(0)
    named = [bool(uneven(rng.integers(0, 12, 60).astype(str), np.arange(60) % 6, seed=seed)) for seed in range(40)]
    assert sum(named) <= 5
    assert uneven(np.repeat("a", 60), np.arange(60) % 6, seed=0) == []
    assert uneven(rng.integers(0, 3, 60).astype(str), np.zeros(60, int), seed=0) == []


def test_how_it_is_told() -> None:
    assert of_some_practices([]) is None
    assert str(of_some_practices([8])).startswith(
        "Cluster 8 takes its patients from different practices than the other clusters: at least 20 % of these patients, beyond"
        " chance, would"
    )
    assert str(of_some_practices([4, 8])).startswith("Clusters 4 and 8 take their patients from different practices")
