"""Compute lengths, leading axes and the spatial median of patient vectors.

The spatial median is the point from which the directions to all vectors cancel out. By this definition, vectors that are centred
and then scaled to length 1 have a mean of zero only if the centre was their spatial median. If vectors are centred at their mean
instead, patients with less noisy vectors (older patients and those with long records) lie a little nearer to the centre than
others. Source: Weiszfeld 1937 for the iteration, Vardi & Zhang 2000 for the median in many dimensions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
STEPS, NEAR = 200, 1e-7
ON_A_POINT = 1e-3
"""A centre closer than this to a point counts as lying on that point."""
SHORTEST = 1e-5
"""A centred unit vector shorter than this has no direction: what is left is rounding error, which scaling would magnify."""


def unit_length(vectors: Vectors) -> Vectors:
    """Scale vectors (P, D) to length 1, so distances rank as cosines do. Vectors shorter than `SHORTEST` become zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length < SHORTEST, np.float32(0), vectors / np.maximum(length, SHORTEST))


def leading_axes(products: NDArray[Any], count: int) -> NDArray[Any]:
    """Return the leading eigenvectors (D, count) of `products` = Xᵀ X (D, D): for centred X, its principal axes."""
    values, axes = np.linalg.eigh(products)
    return axes[:, np.argsort(-values, kind="stable")[:count]]


def spatial_median(points: Vectors) -> Vectors:
    """Return the spatial median (D,) of points (P, D) whose distances are of the order of 1.

    Returns the mean instead if the median coincides with a point, as it does when half of the points are equal: a point at the
    centre would have no direction.
    """
    given = points.astype(np.float64)
    mean = given.mean(0)
    centre = mean
    for _ in range(STEPS):
        distance = np.linalg.norm(given - centre, axis=1)
        if (distance < ON_A_POINT).any():
            centre = mean
            break
        weights = 1 / distance
        before, centre = centre, weights @ given / weights.sum()
        if np.linalg.norm(centre - before) < NEAR:
            break
    median: Vectors = centre.astype(np.float32)
    return median
