"""Texts that are plain numbers, as nearly all ids and codes are: they can be processed as numbers instead of strings.

A text is plain if it is exactly the decimal form of a whole number from 1 to 10**18 - 1: '24079001' is plain;
'007', '+5', '1e3' and ' 5' are not.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

LIMIT = 10**18
_POWERS = 10 ** np.arange(1, 19, dtype=np.int64)


def digits(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the number of digits (n,) of each positive number (n,)."""
    return np.searchsorted(_POWERS, numbers, side="right") + 1


def numbers(texts: pl.Series) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return texts (n,) as numbers, and flags (n,) for the plain ones; the numbers of the others are meaningless."""
    number = texts.cast(pl.Int64, strict=False).fill_null(0).to_numpy()
    plain = (number > 0) & (number < LIMIT)
    return number, plain & (digits(number) == texts.str.len_bytes().fill_null(0).to_numpy())
