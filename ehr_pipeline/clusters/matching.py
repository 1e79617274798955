"""Divide patients into blocks of similar ones, within which a cluster's patients are compared with others.

There are two sets of blocks. Patients in a block have the same disease and sex, or the same disease and practice, and are similar
in age and number of recorded concepts. With the second set, patients are compared only within their practice, so a concept cannot
mark a cluster merely because a practice records it more often than others.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.clusters.methods import Labels
from ehr_pipeline.embeddings.patient_blocks import matched_blocks

PRACTICE = "practice"
"""The column of the patients' table that names their practice, if the data have one."""
MOST = 10
"""Largest number of patients in a block. In blocks of 20, age would distinguish an older part of a group from the rest."""


@dataclass(frozen=True)
class Matching:
    """The attributes on which patients are matched; arrays are (n,)."""

    categories: tuple[tuple[NDArray[Any], ...], ...]
    """For each set of blocks, the attributes in which the patients of a block are equal."""
    numbers: tuple[NDArray[Any], ...]

    @classmethod
    def of(cls, people: pa.Table) -> "Matching":
        """Read them from a table of the patients (`schemas.clusters`)."""
        disease, sex = (category(people, name) for name in ("disease", "sex"))
        numbers = tuple(people.column(name).to_numpy() for name in ("mean_age", "concepts"))
        if not has_practices(people):
            return cls(((disease, sex),), numbers)
        return cls(((disease, sex), (disease, category(people, PRACTICE))), numbers)

    def among(self, rows: NDArray[np.int64]) -> "Matching":
        """Return the attributes of only the patients `rows` (m,)."""
        categories = tuple(tuple(one[rows] for one in some) for some in self.categories)
        return Matching(categories, tuple(number[rows] for number in self.numbers))

    def blockings(self, most: int = MOST) -> list[Labels]:
        """Return the block (n,) of each patient in each set of blocks. A block has at most `most` patients."""
        return [matched_blocks(list(categories), list(self.numbers), most) for categories in self.categories]


def has_practices(people: pa.Table) -> bool:
    """Return whether the table of the patients names at least two practices."""
    return PRACTICE in people.column_names and len(np.unique(category(people, PRACTICE))) > 1


def category(people: pa.Table, name: str) -> NDArray[Any]:
    """Return a column of the patients' table (n,), with unknown values as empty texts."""
    return np.array([value or "" for value in people.column(name).to_pylist()])
