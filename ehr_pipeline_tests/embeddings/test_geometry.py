"""Around their spatial median, the directions of points cancel out."""

import numpy as np

from ehr_pipeline.embeddings.geometry import spatial_median


def directions(points: np.ndarray, centre: np.ndarray) -> np.ndarray:
    moved = points - centre
    return moved / np.linalg.norm(moved, axis=1, keepdims=True)


def test_directions_from_the_median_cancel_out_where_those_from_the_mean_do_not() -> None:
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.05, 1, (400, 1))  # some lie near the middle of their kind, some far from it
    points = (np.where(np.arange(400)[:, None] < 100, 1.0, -0.2) + noise * rng.normal(size=(400, 5))).astype(np.float32)
    assert np.linalg.norm(directions(points, spatial_median(points)).mean(0)) < 1e-5
    assert np.linalg.norm(directions(points, points.mean(0)).mean(0)) > 1e-2


def test_an_outlier_hardly_moves_it() -> None:
    points = np.random.default_rng(1).normal(size=(300, 3)).astype(np.float32)
    far = np.concatenate([points, [[1e4, 0, 0]]]).astype(np.float32)
    assert np.linalg.norm(spatial_median(far) - spatial_median(points)) < 0.05


def test_it_is_the_mean_where_half_of_the_points_are_one() -> None:
    points = np.concatenate([np.ones((6, 2)), np.random.default_rng(2).normal(size=(4, 2))]).astype(np.float32)
    assert np.allclose(spatial_median(points), points.mean(0))
    assert np.allclose(spatial_median(np.ones((4, 2), np.float32)), 1)
