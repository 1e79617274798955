"""Vectors of patients in space: their length, their leading axes, and their spatial median.

The spatial median is the point from which the directions to all others cancel out. Vectors that are scaled to length 1 after they
were centred have a mean of zero only if the centre was their spatial median: that is its definition. Around their mean, patients
whose vectors are less noisy, who are the old and those with long records, lie a little nearer to the middle than others. Source:
Weiszfeld 1937 for the iteration, Vardi & Zhang 2000 for the median in many dimensions.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
STEPS, NEAR = 200, 1e-7
ON_A_POINT = 1e-3
"""A centre that is nearer to a point than that falls on it."""
SHORTEST = 1e-5
"""A patient who differs less from the mean of unit vectors has no direction: what is left is rounding, and would be scaled up."""


def unit_length(vectors: Vectors) -> Vectors:
    """Vectors (P, D) scaled to length 1, so that distances order as cosines do. What is shorter than `SHORTEST` becomes zero."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length < SHORTEST, np.float32(0), vectors / np.maximum(length, SHORTEST))


def leading_axes(products: NDArray[Any], count: int) -> NDArray[Any]:
    """The eigenvectors (D, count) of the largest eigenvalues of Xᵀ X (D, D): the principal axes of X where it is centred."""
    values, axes = np.linalg.eigh(products)
    return axes[:, np.argsort(-values, kind="stable")[:count]]


def spatial_median(points: Vectors) -> Vectors:
    """The centre (D,) of points (P, D) whose distances are of the order of 1.

    Where it falls on points themselves, as it does when half of all are alike, it is the mean instead: who lies at the centre has
    no direction.
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
    found: Vectors = centre.astype(np.float32)
    return found
