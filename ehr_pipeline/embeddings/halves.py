"""Random halves of every patient's visits: for the split-half test, and others to learn from, so that the test sees new ones."""

import numpy as np
from numpy.typing import NDArray


def first_half(visits: int, shard: int, seed: int) -> NDArray[np.bool_]:
    """Which visits of a shard belong to the first half of the test: a function of the seed and the shard's number."""
    return np.random.default_rng([seed, shard, 0x4A1F]).random(visits) < 0.5


def half_to_learn_from(visits: int, shard: int, seed: int) -> NDArray[np.bool_]:
    """The same for another division, independent of the first."""
    return np.random.default_rng([seed, shard, 0x4A20]).random(visits) < 0.5
