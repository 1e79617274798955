"""Codes by their rows in the demo's code table, with how often a registered patient has them in a year."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.synthetic.codes import CodeTable
from ehr_pipeline.synthetic.worlds.diagnoses import REGISTERED

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Codebook:
    """The codes that practices used."""

    table: CodeTable

    @cached_property
    def codes(self) -> list[str]:
        """SNOMED codes, most used first."""
        return self.table.codes["code"].to_list()

    @cached_property
    def names(self) -> list[str]:
        """Their fully specified names."""
        return self.table.codes["name"].to_list()

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {code: row for row, code in enumerate(self.codes)}

    @cached_property
    def yearly(self) -> Floats:
        """Events of each code for each registered patient and year, in England in 2018-19 (codes,)."""
        return self.table.codes["usage"].to_numpy().astype(float) / REGISTERED

    def row(self, code: str) -> int:
        """The row of a code. Raises KeyError for one that practices did not use."""
        return self._rows[code]

    def rows(self, codes: Iterable[str]) -> NDArray[np.int64]:
        """The rows of some codes."""
        return np.array([self.row(code) for code in codes], np.int64)

    def concept(self, row: int) -> str:
        """The preferred concept of a code, or nothing."""
        return self.table.codes["cui"][int(row)] or ""
