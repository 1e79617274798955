"""Projections: the same seed gives the same picture, and what umap compiles is kept for other processes."""

from pathlib import Path

import numpy as np

from ehr_pipeline.drawing.umap import project


def test_the_same_seed_gives_the_same_picture_and_neighbours_stay_neighbours() -> None:
    rng = np.random.default_rng(0)
    vectors = (np.repeat(np.eye(3), 20, axis=0) + rng.normal(0, 0.05, (60, 3))).astype(np.float32)
    points = project(vectors, 2, 10, seed=1)
    assert points.shape == (60, 2)
    assert np.array_equal(points, project(vectors, 2, 10, seed=1))
    assert not np.array_equal(points, project(vectors, 2, 10, seed=2))
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    own = np.repeat(np.arange(3), 20)
    assert apart[own[:, None] == own].max() < np.median(apart[own[:, None] != own])


def test_what_was_compiled_is_kept() -> None:
    """Each process compiles it again otherwise. numba's own decorator is what it was."""
    import numba
    import umap
    from numba.core.caching import FunctionCache

    project(np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32), 2, 10, seed=0)
    loops = (umap.umap_.smooth_knn_dist, umap.layouts._nb_optimize_layout_euclidean_single_epoch)
    assert all(type(loop._cache) is FunctionCache and Path(loop._cache.cache_path).is_dir() for loop in loops)
    assert numba.njit.__module__ == "numba.core.decorators"


def test_too_few_points_lie_on_the_principal_axes() -> None:
    points = project(np.arange(12, dtype=np.float32).reshape(6, 2) * 3, 2, 10, seed=0)
    assert np.allclose(np.diff(points[:, 0]), np.diff(points[:, 0])[0])
    assert np.allclose(points[:, 1], 0, atol=1e-4)
