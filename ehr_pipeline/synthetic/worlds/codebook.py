"""Codes by their row in the demo's code table, with the yearly rate at which each is recorded for a registered patient."""

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
    """The codes that practices used, one row each."""

    table: CodeTable

    @cached_property
    def codes(self) -> list[str]:
        """SNOMED codes, most used first."""
        return self.table.codes["code"].to_list()

    @cached_property
    def names(self) -> list[str]:
        """Fully specified names of the codes."""
        return self.table.codes["name"].to_list()

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {code: row for row, code in enumerate(self.codes)}

    @cached_property
    def yearly(self) -> Floats:
        """Events of each code per registered patient and year, in England in 2018-19 (codes,)."""
        return self.table.codes["usage"].to_numpy().astype(float) / REGISTERED

    def row(self, code: str) -> int:
        """Return the row of a code. Raises KeyError for a code that practices did not use."""
        return self._rows[code]

    def rows(self, codes: Iterable[str]) -> NDArray[np.int64]:
        """Return the rows of `codes`. Raises KeyError for a code that practices did not use."""
        return np.array([self.row(code) for code in codes], np.int64)

    def concept(self, row: int) -> str:
        """Return the CUI of a code's preferred concept, or ''."""
        return self.table.codes["cui"][int(row)] or ""
