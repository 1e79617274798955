"""Many tests at once: adjusted p values, as natural logarithms, which do not underflow."""

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


def benjamini_hochberg(log_p: Table) -> Table:
    """Adjust the logarithms of the p values of a whole table (Benjamini and Hochberg 1995); all of them count as tests."""
    flat = log_p.ravel()
    order = np.argsort(flat, kind="stable")
    scaled = flat[order] + np.log(max(len(flat), 1)) - np.log(np.arange(1, len(flat) + 1))
    adjusted = np.empty_like(flat)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 0)
    return adjusted.reshape(log_p.shape)
