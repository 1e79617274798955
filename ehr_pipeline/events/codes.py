"""Find the positions of a shard's codes in the list of all codes."""

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.records import code_numbers
from ehr_pipeline.tables import plain_numbers


class CodeIndex:
    """Finds codes in a list of distinct codes: plain numbers in a hash table, others in a dictionary."""

    def __init__(self, codes: pa.Array):
        series = pl.Series(codes.cast(pa.string()))
        number, is_plain = plain_numbers.numbers(series)
        self._numbers = code_numbers.Places(number, is_plain)
        others = np.flatnonzero(~is_plain).tolist()
        self._others = {series[place]: place for place in others}

    def positions(self, codes: pa.Array) -> NDArray[np.int64]:
        """Return the positions (n,) of codes (n,) in the list. All codes must be in the list."""
        series = pl.Series(codes.cast(pa.string()))
        number, is_plain = plain_numbers.numbers(series)
        positions = self._numbers.of(number).astype(np.int64)
        for place in np.flatnonzero(~is_plain).tolist():
            positions[place] = self._others[series[place]]
        return positions
