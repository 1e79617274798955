"""Events that follow from a diagnosis: the diagnosis code at the first record and at reviews, and the codes for reviews and
treatments.

Over all patients with a diagnosis, a code that belongs to it is recorded as often as in England, according to the NHS file.
"""

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.synthetic.worlds.codebook import Codebook
from ehr_pipeline.synthetic.worlds.diagnoses import Diagnoses, read_table
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, Block, Mechanism
from ehr_pipeline.synthetic.worlds.years import Years, within

MAIN_SYNONYM = 0.8
"""Share of later records of a patient's diagnosis that use the same code as the first one. Assumed."""
FEWEST, MOST = 0.02, 12.0
"""Bounds of a code's rate: events a year for each patient with the diagnosis."""
ENGAGEMENT = 0.5
"""How much patients differ in the share of due care that they receive, as the standard deviation of the share's logarithm.
Assumed."""
REGISTRATION = ("184047000", "171324002", "184229000")
DEATH = "397709008"


class Care(Mechanism):
    """The records of diagnoses, with reviews and treatments."""

    name = "care"

    def __init__(self, diagnoses: Diagnoses, book: Codebook) -> None:
        self.diagnoses, self.book = diagnoses, book
        self.synonyms = [book.rows(row.codes) for row in diagnoses.rows]
        self.weights = [np.cumsum(book.yearly[rows]) / book.yearly[rows].sum() for rows in self.synonyms]
        overall = np.array([row.overall for row in diagnoses.rows])
        used = np.array([book.yearly[rows].sum() for rows in self.synonyms])
        self.review_rate = np.clip(used / overall, FEWEST, MOST)
        care = read_table("care")
        self.care_diagnosis = np.array([diagnoses.index(row["diagnosis"]) for row in care])
        self.care_code = book.rows(row["code"] for row in care)
        self.care_share = np.array([float(row["share"]) for row in care])
        self.care_rate = np.clip(
            book.yearly[self.care_code] / (overall[self.care_diagnosis] * self.care_share), FEWEST, MOST
        )
        self.registration, self.death = book.rows(REGISTRATION), book.row(DEATH)
        self.codes = np.concatenate([*self.synonyms, self.care_code, self.registration, [self.death]])

    def events(self, block: Block) -> None:
        """Record diagnoses, reviews, treatments, registrations and deaths."""
        rng = block.rng(self.name)
        years = Years.of(block)
        main = self._main(rng)
        person, column = np.nonzero(np.isfinite(block.known))
        block.record(person, block.known[person, column].astype(np.int64), main[person, column])
        engaged = np.exp(rng.normal(-(ENGAGEMENT**2) / 2, ENGAGEMENT, BLOCK))
        row, column = np.nonzero(years.active)
        rate = self.review_rate[column] * years.recording[row] * engaged[years.person[row]]
        counts = rng.poisson(rate)
        due = years.somewhere(rng, row)  # day of the year's review, shared by everything done at it
        event = np.repeat(np.arange(len(row)), counts)
        day = np.where(within(counts) == 0, due[event], years.somewhere(rng, row[event]))
        who, what = years.person[row[event]], column[event]
        code = np.where(rng.random(len(event)) < MAIN_SYNONYM, main[who, what], self._any(rng, what))
        block.record(who, day, code)
        given = rng.random((BLOCK, len(self.care_code))) < self.care_share
        for number, diagnosis in enumerate(self.care_diagnosis):
            here = np.flatnonzero((column == diagnosis) & given[years.person[row], number])
            counts = rng.poisson(self.care_rate[number] * years.recording[row[here]] * engaged[years.person[row[here]]])
            event = np.repeat(here, counts)
            day = np.where(within(counts) == 0, due[event], years.somewhere(rng, row[event]))
            block.record(years.person[row[event]], day, np.full(len(event), self.care_code[number]))
        self._coming_and_going(rng, block)

    def _main(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw the main code of each diagnosis for each patient, in proportion to usage (BLOCK, diagnoses)."""
        unit = rng.random((BLOCK, len(self.synonyms)))
        columns = [
            rows[np.minimum(np.searchsorted(weights, unit[:, number]), len(rows) - 1)]
            for number, (rows, weights) in enumerate(zip(self.synonyms, self.weights, strict=True))
        ]
        return np.stack(columns, axis=1)

    def _any(self, rng: np.random.Generator, diagnosis: NDArray[np.int64]) -> NDArray[np.int64]:
        unit, codes = rng.random(len(diagnosis)), np.empty(len(diagnosis), np.int64)
        for number, (rows, weights) in enumerate(zip(self.synonyms, self.weights, strict=True)):
            here = diagnosis == number
            codes[here] = rows[np.minimum(np.searchsorted(weights, unit[here]), len(rows) - 1)]
        return codes

    def _coming_and_going(self, rng: np.random.Generator, block: Block) -> None:
        joined, start = block.days("joined"), block.days("start")
        new = np.flatnonzero(joined == start)
        for code in self.registration:
            here = new[rng.random(len(new)) < 0.6]
            block.record(here, start[here], np.full(len(here), code))
        died = np.flatnonzero((block.days("status") == 2) & (rng.random(BLOCK) < 0.7))
        block.record(died, block.days("end")[died], np.full(len(died), self.death))
