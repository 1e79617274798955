"""The bias audit: how far the clusters mirror age, sex, region, treatment, ethnicity, or the amount of recording."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency

# Rules of thumb for a small, medium and large effect: Cohen 1988, chapters 7 (w) and 8 (eta squared).
BANDS = {"η²": (0.01, 0.06, 0.14), "Cramér's V": (0.1, 0.3, 0.5)}


@dataclass(frozen=True)
class Effect:
    """How strongly an attribute and the clusters go together."""

    attribute: str
    measure: str
    """'η²' for numbers, 'Cramér's V' for categories; both from 0 (not at all) to 1 (fully)."""
    value: float | None
    """Null where it is undefined: one category only, or no variation."""

    @property
    def words(self) -> str:
        """The size of the effect in a word."""
        if self.value is None:
            return "undefined"
        small, medium, large = BANDS[self.measure]
        return (
            "large"
            if self.value >= large
            else "medium"
            if self.value >= medium
            else "small"
            if self.value >= small
            else "negligible"
        )


def effect(attribute: str, values: NDArray[np.generic], labels: NDArray[np.int64]) -> Effect:
    """Effect size of clusters (n,) on an attribute (n,): η² if it is numeric, else Cramér's V."""
    if np.issubdtype(values.dtype, np.number):
        return Effect(attribute, "η²", eta_squared(values.astype(float), labels))
    return Effect(attribute, "Cramér's V", cramers_v(values, labels))


def eta_squared(values: NDArray[np.float64], labels: NDArray[np.int64]) -> float | None:
    """Share of the variance that lies between clusters; null without variance."""
    total = float(((values - values.mean()) ** 2).sum())
    if total == 0:
        return None
    size = np.bincount(labels)
    means = np.bincount(labels, values) / np.maximum(size, 1)
    return float((size * (means - values.mean()) ** 2).sum() / total)


def cramers_v(values: NDArray[np.generic], labels: NDArray[np.int64]) -> float | None:
    """Cramér's V with the bias correction of Bergsma (2013), so that chance alone gives about 0; null with one category only."""
    names, coded = np.unique(values, return_inverse=True)
    table = np.zeros((int(labels.max()) + 1, len(names)))
    np.add.at(table, (labels, coded), 1)
    table = table[table.sum(1) > 0]
    rows, columns = table.shape
    if min(rows, columns) < 2:
        return None
    n = table.sum()
    phi2 = chi2_contingency(table, correction=False).statistic / n
    corrected = max(0.0, phi2 - (columns - 1) * (rows - 1) / (n - 1))
    smaller = min(rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)) - 1
    return float(np.sqrt(corrected / smaller)) if smaller > 0 else None
