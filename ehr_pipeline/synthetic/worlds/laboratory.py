"""Measurements and laboratory tests: taken in panels, more often from older patients and from those whose diagnosis calls for them.

Over the whole population, each code is recorded as often as in the NHS file; the spread over ages and diseases is assumed.
"""

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.synthetic.worlds.codebook import Codebook
from ehr_pipeline.synthetic.worlds.diagnoses import Diagnoses, population, read_table
from ehr_pipeline.synthetic.worlds.mechanism import Block, Mechanism
from ehr_pipeline.synthetic.worlds.years import AGE_BANDS, Years, within

Floats = NDArray[np.float64]


def weights_of(text: str) -> Floats:
    """Parse the weights in a table, one for each age band. Raises ValueError for another number of weights."""
    weights = np.array([float(word) for word in text.split()])
    if len(weights) != len(AGE_BANDS) + 1:
        raise ValueError(f"{text!r}: one weight for each of {len(AGE_BANDS) + 1} bands of age")
    return weights


def by_sex(women_to_men: float) -> tuple[float, float]:
    """Return weights of women and of men that have this ratio and a mean of 1."""
    return 2 * women_to_men / (1 + women_to_men), 2 / (1 + women_to_men)


def mean_weight(weights: Floats, women_to_men: float) -> float:
    """Return the mean over the population of the product of the weights by age band and the weights by sex."""
    bands = np.searchsorted(AGE_BANDS, np.arange(100) + 0.5, side="right")
    shares = [(population(women) * weights[bands]).sum() for women in (True, False)]
    return float(np.mean([share * factor for share, factor in zip(shares, by_sex(women_to_men), strict=True)]))


class Laboratory(Mechanism):
    """Panels of measurements."""

    name = "laboratory"

    def __init__(self, diagnoses: Diagnoses, book: Codebook) -> None:
        panels = read_table("panels")
        self.codes_of = [book.rows(panel["codes"].split()) for panel in panels]
        self.codes = np.concatenate(self.codes_of)
        leads = np.array([book.yearly[codes].max() for codes in self.codes_of])
        self.taken = [book.yearly[codes] / lead for codes, lead in zip(self.codes_of, leads, strict=True)]
        self.base = np.stack([weights_of(panel["age_weights"]) for panel in panels], axis=1)
        self.sex = np.array([by_sex(float(panel["women_to_men"])) for panel in panels])
        self.added = np.zeros((len(diagnoses.names), len(panels)))
        mean = np.array([mean_weight(weights_of(p["age_weights"]), float(p["women_to_men"])) for p in panels])
        for number, panel in enumerate(panels):
            for words in panel["added"].split(";"):
                name, weight = words.rsplit(" ", 1)
                self.added[diagnoses.index(name), number] = float(weight)
                mean[number] += float(weight) * diagnoses.rows[diagnoses.index(name)].overall
        self.rate = leads / mean

    def events(self, block: Block) -> None:
        """Record the panels."""
        rng = block.rng(self.name)
        years = Years.of(block)
        weight = self.base[years.band] * self.sex[:, np.where(years.female, 0, 1)].T + years.active @ self.added
        access = block.floats("access")[years.person]
        counts = rng.poisson(weight * self.rate * (years.recording * access)[:, None])
        blood = years.somewhere(rng, np.arange(len(years.person)))  # day of each panel's first test that year
        for number, (codes, taken) in enumerate(zip(self.codes_of, self.taken, strict=True)):
            row = np.repeat(np.arange(len(years.person)), counts[:, number])
            day = np.where(within(counts[:, number]) == 0, blood[row], years.somewhere(rng, row))
            test, code = np.nonzero(rng.random((len(row), len(codes))) < taken)
            block.record(years.person[row[test]], day[test], codes[code])
