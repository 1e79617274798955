"""The years in which each patient is registered, and the diagnoses known in each: rates of events are per year."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.synthetic.worlds.mechanism import YEAR, Block

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

AGE_BANDS = (5, 18, 40, 65, 80)
"""Ages in years that separate the age bands of the columns `age_weights` in the tables."""
RECORDING = ((2000, 0.45), (2018, 1.0))
"""Calendar year, and how much is recorded in it relative to 2018-19; linear between them. Assumed."""


@dataclass(frozen=True)
class Years:
    """One row for each patient and year. Arrays are (rows,): the patient's row in the block; the year's first day, and its
    length in years; the patient's age in the middle of the year; and sex."""

    person: Numbers
    first: Numbers
    length: Floats
    age: Floats
    female: NDArray[np.bool_]
    recording: Floats
    """How much is recorded in that calendar year (by RECORDING), times the length."""
    active: NDArray[np.bool_]
    """Whether each diagnosis is known by the middle of the year (rows, diagnoses)."""

    @classmethod
    def of(cls, block: Block) -> "Years":
        """Return the registered years of a block's patients."""
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
        """Age band of each row, from 0 (by AGE_BANDS) (rows,)."""
        return np.searchsorted(AGE_BANDS, self.age, side="right")

    def somewhere(self, rng: np.random.Generator, row: NDArray[np.integer]) -> Numbers:
        """Return a random day in each of the years in `row`, which are indices of rows and may repeat."""
        days: Numbers = self.first[row] + np.floor(rng.random(len(row)) * self.length[row] * YEAR).astype(np.int64)
        return days


def within(counts: NDArray[np.integer]) -> Numbers:
    """Return, for events in runs of these lengths, the index of each event within its run, from 0."""
    ends = np.cumsum(counts)
    numbers: Numbers = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
    return numbers
