"""Texts that are plain numbers: ids and codes as nearly all of them are written, which need no strings on the way.

A text is plain when number and text tell each other and 64 bits hold them: '24079001' is, '007', '+5', '1e3' and ' 5' are not.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

LIMIT = 10**18
_POWERS = 10 ** np.arange(1, 19, dtype=np.int64)


def digits(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many digits (n,) each positive number (n,) has."""
    return np.searchsorted(_POWERS, numbers, side="right") + 1


def numbers(texts: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Texts (n,) as numbers, and which of them (n,) are plain; the numbers of the others mean nothing."""
    number = texts.cast(pl.Int64, strict=False).fill_null(0).to_numpy()
    plain = (number > 0) & (number < LIMIT)
    return number, plain & (digits(number) == texts.str.len_bytes().fill_null(0).to_numpy())
