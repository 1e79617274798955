"""The attributes on which patients are matched for the verdicts, and the blocks of similar patients that are compared.

Patients are always matched on disease, sex, age and number of recorded concepts. The comparison is repeated within practices, if
the data name practices, and among patients whose records also have similar dates and lengths, unless each patient's dates are
shifted. In the repeats, all patients compared share the recording habits of their practice, or of their time.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.clusters.matching import PRACTICE, category, has_practices
from ehr_pipeline.clusters.microaggregation import BLOCK_SIZE, balance, nearest_blocks, shuffled
from ehr_pipeline.embeddings.patient_blocks import Labels

TIME = "calendar time"
"""Name of the repeat that also matches calendar time and length of the record; the other repeat is PRACTICE."""
WHATEVER_DISEASE = 2 * BLOCK_SIZE
"""Number of patients in a block for comparing diseases; such a block must hold several diseases."""


@dataclass(frozen=True)
class Covariates:
    """The attributes on which patients are matched; arrays are (n,)."""

    disease: NDArray[Any]
    sex: NDArray[Any]
    practice: NDArray[Any] | None
    """Practice of each patient; None if practices are unknown, or if all patients are of one."""
    age: NDArray[Any]
    """Mean age over the record, in years."""
    amount: NDArray[Any]
    """Logarithm of the number of recorded concepts."""
    middle: NDArray[Any] | None
    """Mean calendar time of the record, in years; None if each patient's dates are shifted."""
    length: NDArray[Any]
    """Time between the first and the last visit, in years."""

    @classmethod
    def of(cls, people: pa.Table, *, shifted_dates: bool = False) -> "Covariates":
        """Read them from a table of the patients (`build.Patients.described`)."""
        disease, sex = (category(people, name) for name in ("disease", "sex"))
        practice = category(people, PRACTICE) if has_practices(people) else None
        age, concepts, middle, length = (
            people.column(name).to_numpy() for name in ("mean_age", "concepts", "middle", "length")
        )
        return cls(disease, sex, practice, age, np.log1p(concepts), None if shifted_dates else middle, length)

    def among(self, rows: NDArray[np.int64]) -> "Covariates":
        """Return the attributes of only the patients `rows` (m,)."""
        changed = {name: value[rows] for name, value in vars(self).items() if value is not None}
        return replace(self, **changed)

    @property
    def blocks(self) -> Labels:
        """Return blocks of patients of the same disease and sex, and of similar age and number of recorded concepts."""
        return nearest_blocks([self.disease, self.sex], [self.age, self.amount])

    @property
    def whatever_disease(self) -> Labels:
        """Return blocks of patients of the same sex, whatever their disease, and of similar age and number of recorded concepts."""
        return nearest_blocks([self.sex], [self.age, self.amount], WHATEVER_DISEASE)

    def repeated_blocks(self) -> dict[str, Labels]:
        """Return the blocks of each repeat, by name: within a practice, and with similar dates and lengths of records."""
        # The numbers on which a repeat adds matching are entered twice, because four numbers cannot all be matched closely.
        by_name = dict[str, Labels]()
        if self.middle is not None:
            numbers = [self.age, self.amount, self.length, self.middle, self.middle]
            by_name[TIME] = nearest_blocks([self.disease, self.sex], numbers)
        if self.practice is not None:
            woman = np.unique(self.sex, return_inverse=True)[1]  # a number: few patients of a practice have one disease
            by_name[PRACTICE] = nearest_blocks([self.disease, self.practice], [self.age, self.amount, woman])
        return by_name

    def exchanged(self, blocks: Labels, rng: np.random.Generator) -> "Covariates":
        """Return a copy with practices and times permuted within blocks: as coarse for matching as the true ones, but
        meaningless."""
        order = shuffled(blocks, rng)
        practice = None if self.practice is None else self.practice[order]
        middle = None if self.middle is None else self.middle[order]
        return replace(self, practice=practice, middle=middle, length=self.length[order])

    def balance(self, blocks: Labels) -> dict[str, float]:
        """Return how closely age and number of recorded concepts are matched within blocks (`microaggregation.balance`)."""
        return balance(blocks, {"age": self.age, "amount": self.amount})
