"""Disclosure control in one place: small counts of patients are never shown outside the data artifacts."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Disclosure:
    """Suppresses counts from 1 to `below` - 1. Zero is shown: it says that nobody is concerned.

    Where a total is shown beside a count, the rest is a count too: "221 of 222" tells of one patient. So both are guarded.
    """

    below: int

    def small(self, count: int) -> bool:
        """Whether a count must not be shown."""
        return 0 < count < self.below

    def show(self, count: int, of: int | None = None) -> str:
        """A count as text: '1,234', or '<10'; '>1,224' where fewer than ten of a total `of` are left over."""
        if self.small(count):
            return f"<{self.below}"
        return f">{max(of - self.below, 0):,}" if of is not None and self.small(of - count) else f"{count:,}"

    def share(self, count: int, of: int) -> str:
        """A share as text, left out where either number is small; a lower bound where the rest is."""
        if not of or self.small(count) or self.small(of):
            return "–"
        if self.small(of - count):
            return f">{math.floor(100 * (of - self.below) / of)} %" if of > self.below else "–"
        return f"{100 * count / of:.1f} %"

    def merge_rare(self, values: NDArray[Any]) -> NDArray[Any]:
        """Categories with few patients become one, 'other'; if that is still small, it joins the most frequent one's rest."""
        names, counts = np.unique(values, return_counts=True)
        rare = names[counts < self.below]
        if not len(rare):
            return values
        merged = np.where(np.isin(values, rare), "other", values.astype(object)).astype(str)
        left = int((merged == "other").sum())
        if left < self.below and len(names) > len(rare):
            smallest = min(
                (count, name)
                for name, count in zip(names.tolist(), counts.tolist(), strict=True)
                if count >= self.below
            )[1]
            merged = np.where(merged == smallest, "other", merged)
        return merged
