"""The spatial median: the point from which the directions to all others cancel out.

Vectors that are scaled to length 1 after they were centred have a mean of zero only if the centre was their spatial median: that is
its definition. Around their mean, patients whose vectors are less noisy, who are the old and those with long records, lie a little
nearer to the middle than others. Source: Weiszfeld 1937 for the iteration, Vardi & Zhang 2000 for the median in many dimensions.
"""

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
STEPS, NEAR = 200, 1e-7
ON_A_POINT = 1e-3
"""A centre that is nearer to a point than that falls on it."""


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
