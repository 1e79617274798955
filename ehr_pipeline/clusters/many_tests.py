"""Adjust p values for many tests; all are natural logarithms, which do not underflow."""

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


def benjamini_hochberg(log_p: Table) -> Table:
    """Return the p values of a whole table, adjusted for the false discovery rate (Benjamini and Hochberg 1995), as logarithms."""
    flat = log_p.ravel()
    order = np.argsort(flat, kind="stable")
    scaled = flat[order] + np.log(max(len(flat), 1)) - np.log(np.arange(1, len(flat) + 1))
    adjusted = np.empty_like(flat)
    adjusted[order] = np.minimum(np.minimum.accumulate(scaled[::-1])[::-1], 0)
    return adjusted.reshape(log_p.shape)
