"""Two random halves of every patient's visits, for the split-half test. numpy only."""

import numpy as np
from numpy.typing import NDArray


def first_half(visits: int, shard: int, seed: int) -> NDArray[np.bool_]:
    """Which visits of a shard belong to the first half: a function of the seed and the shard's number."""
    return np.random.default_rng([seed, shard, 0x4A1F]).random(visits) < 0.5
