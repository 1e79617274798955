"""The years that each patient is registered for, and which diagnoses are known in them: rates of events are a year."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.synthetic.worlds.block import YEAR, Block

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

AGE_BANDS = (5, 18, 40, 65, 80)
"""Ages in years at which the columns `age_weights` of the tables change."""
RECORDING = ((2000, 0.45), (2018, 1.0))
"""How much is recorded in a year, beside 2018-19. Assumed."""


@dataclass(frozen=True)
class Years:
    """One row a patient and year, all (rows,): the patient's row, its first day, its length in years, age in its middle, sex."""

    person: Numbers
    first: Numbers
    length: Floats
    age: Floats
    female: NDArray[np.bool_]
    recording: Floats
    """How much is recorded in that calendar year (RECORDING), times the length."""
    active: NDArray[np.bool_]
    """(rows, diagnoses): known on or before its first day, or in the first half of it."""

    @classmethod
    def of(cls, block: Block) -> "Years":
        """The years of a block's patients."""
        start, end = block.days("start"), block.days("end")
        count = np.maximum(np.ceil((end - start + 1) / YEAR).astype(np.int64), 1)
        person = np.repeat(np.arange(len(count)), count)
        nth = np.arange(len(person)) - np.repeat(np.cumsum(count) - count, count)
        first = start[person] + np.floor(nth * YEAR).astype(np.int64)
        length = np.minimum(end[person] + 1 - first, YEAR) / YEAR
        middle = first + length * YEAR / 2
        calendar = 1970 + middle / YEAR
        years, shares = zip(*RECORDING, strict=True)
        return cls(
            person,
            first,
            length,
            (middle - block.days("birth")[person]) / YEAR,
            block.people["female"].astype(bool)[person],
            np.interp(calendar, years, shares) * length,
            block.known[person] <= middle[:, None],
        )

    @property
    def band(self) -> Numbers:
        """The band of age of each row (AGE_BANDS)."""
        return np.searchsorted(AGE_BANDS, self.age, side="right")

    def somewhere(self, rng: np.random.Generator, row: NDArray[np.integer]) -> Numbers:
        """A day at random in each of some rows."""
        days: Numbers = self.first[row] + np.floor(rng.random(len(row)) * self.length[row] * YEAR).astype(np.int64)
        return days


def within(counts: NDArray[np.integer]) -> Numbers:
    """For events in runs of these lengths, the number of each event within its run."""
    ends = np.cumsum(counts)
    numbers: Numbers = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
    return numbers
