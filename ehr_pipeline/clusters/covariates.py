"""The attributes on which patients are matched for the verdicts, and the blocks of similar patients to compare.

Patients are always matched on disease, sex, age and amount of record. Comparisons are repeated within practices, if the data name
practices, and among patients whose records are also from the same years and of similar length. In these repeats, habits of
recording of a practice, or of a time, are the same for all patients compared.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.clusters.microaggregation import ALIKE, balance, nearest_blocks, shuffled
from ehr_pipeline.clusters.patients_alike import PRACTICE, category, has_practices
from ehr_pipeline.embeddings.patient_blocks import Labels

TIME = "calendar time"
"""Name of the comparison among patients with similar calendar time and length of record; the other repeat is PRACTICE."""
WHATEVER_DISEASE = 2 * ALIKE
"""Patients in a block for comparing diseases; such a block must hold several diseases."""


@dataclass(frozen=True)
class Covariates:
    """What patients are matched on; arrays are (n,)."""

    disease: NDArray[Any]
    sex: NDArray[Any]
    practice: NDArray[Any] | None
    """None if it is unknown, or the same for all patients."""
    age: NDArray[Any]
    """Mean age over the record, in years."""
    amount: NDArray[Any]
    """Logarithm of the number of recorded concepts."""
    middle: NDArray[Any]
    """Mean calendar time of the record, in years."""
    length: NDArray[Any]
    """Time between the first and the last visit, in years."""

    @classmethod
    def of(cls, people: pa.Table) -> "Covariates":
        """From a table of the patients (`build.Patients.described`)."""
        disease, sex = (category(people, name) for name in ("disease", "sex"))
        practice = category(people, PRACTICE) if has_practices(people) else None
        age, concepts, middle, length = (
            people.column(name).to_numpy() for name in ("mean_age", "concepts", "middle", "length")
        )
        return cls(disease, sex, practice, age, np.log1p(concepts), middle, length)

    def among(self, rows: NDArray[np.int64]) -> "Covariates":
        """Only the patients `rows` (m,)."""
        changed = {name: value[rows] for name, value in vars(self).items() if value is not None}
        return replace(self, **changed)

    @property
    def blocks(self) -> Labels:
        """Blocks of patients equal in disease and sex, near in age and amount of record."""
        return nearest_blocks([self.disease, self.sex], [self.age, self.amount])

    @property
    def whatever_disease(self) -> Labels:
        """Blocks of patients with any disease, equal in sex, near in age and amount of record."""
        return nearest_blocks([self.sex], [self.age, self.amount], WHATEVER_DISEASE)

    def again(self) -> dict[str, Labels]:
        """Blocks for the repeated comparisons, by name: within a practice, and with similar calendar time and length of record."""
        # The numbers that the repeat is about are entered twice, because four numbers could not all be matched closely.
        found = {
            TIME: nearest_blocks(
                [self.disease, self.sex], [self.age, self.amount, self.length, self.middle, self.middle]
            )
        }
        if self.practice is not None:
            woman = np.unique(self.sex, return_inverse=True)[1]  # a number: few patients of a practice have one disease
            found[PRACTICE] = nearest_blocks([self.disease, self.practice], [self.age, self.amount, woman])
        return found

    def exchanged(self, blocks: Labels, rng: np.random.Generator) -> "Covariates":
        """Exchange practices and times between the patients of a block. Matching on the exchanged values is as coarse as on the
        true ones, but they no longer mean anything."""
        order = shuffled(blocks, rng)
        practice = None if self.practice is None else self.practice[order]
        return replace(self, practice=practice, middle=self.middle[order], length=self.length[order])

    def balance(self, blocks: Labels) -> dict[str, float]:
        """How closely age and amount of record are matched within blocks; see `microaggregation.balance`."""
        return balance(blocks, {"age": self.age, "amount": self.amount})
