"""By what factor more patients have both of two concepts because the same practices record both.

Practices differ in the codes that they use. If half of the practices record two concepts and the others neither, twice as many
patients have both as expected from age, sex and amount of record. Strata by practice would contain only one or two patients each.
So the patients with a concept are counted by practice: as observed, and as expected if all practices recorded alike. The sum over
practices of the products of two concepts' counts is the number of patients with both that is expected by chance. The ratio of the
observed to the expected sum is the factor due to practices. Axes: n concepts, R of them, P patients, H practices.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.tables.compiled_loops import compiled

FEWEST, MOST = 50, 4096
"""Smallest number of patients of a practice that is treated separately (fewer do not show how it records), and largest number of
such practices. All others count as one practice, together with patients of unknown practice."""


@dataclass(frozen=True)
class Practices:
    """Patients by practice and concept."""

    of: NDArray[np.int64]
    """The practice of each patient (P,)."""
    patients: NDArray[np.int64]
    """Patients of each practice (H,)."""
    seen: NDArray[np.float64]
    """Patients who have each concept (H, n)."""
    expected: NDArray[np.float64]
    """The number of these patients that is expected if all practices record in the same way (H, n)."""

    @classmethod
    def of_patients(cls, given: NDArray[np.int64], concepts: int) -> "Practices":
        """Practices to which no patient was added yet. `given`: the practice of each patient, as an index; -1 if not known."""
        size = np.bincount(given[given >= 0])
        kept = np.argsort(-size, kind="stable")[:MOST]
        kept = kept[size[kept] >= FEWEST]
        number = np.zeros(len(size) + 1, np.int64)  # 0 is all others; the last one is for -1
        number[kept] = np.arange(1, len(kept) + 1)
        practices = len(kept) + 1
        tables = (np.zeros((practices, concepts)) for _ in range(2))
        return cls(number[given], np.zeros(practices, np.int64), *tables)

    @property
    def number(self) -> int:
        """Number of practices that are treated separately."""
        return len(self.patients) - 1

    def add(self, held: Any, members: NDArray[np.int64]) -> None:
        """Add the patients of a stratum. `held`: the index of each patient's first entry, and the concept of each entry."""
        np.add.at(self.patients, self.of[members], 1)
        _add(held, (members, self.of), np.zeros(self.seen.shape[1]), self.seen, self.expected)

    def common_practice_ratio(self, begin: int, end: int) -> NDArray[np.float64]:
        """Return the factor (R, n) by which differences between practices raise the number of patients with both of two concepts:
        one of the concepts `begin` to `end`, and any concept."""
        weight = 1 / np.maximum(self.patients, 1)[:, None]
        seen, expected = ((table[:, begin:end] * weight).T @ table for table in (self.seen, self.expected))
        return np.where(expected > 0, seen / np.where(expected > 0, expected, 1), 1.0)


@compiled
def _add(held: Any, stratum: Any, margins: Any, seen: Any, expected: Any) -> None:
    start, place = held
    members, practice = stratum
    for patient in members:
        for entry in range(start[patient], start[patient + 1]):
            margins[place[entry]] += 1
            seen[practice[patient], place[entry]] += 1
    for i in range(len(margins)):
        margins[i] /= len(members)
    for patient in members:
        for i in range(len(margins)):
            expected[practice[patient], i] += margins[i]
