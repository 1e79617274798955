"""The patients: birth, sex, practice, region, ethnicity, registration, transfer, death, frailty, access to care.

Most patients are registered at the end; some left or died before. These shares, and how long patients stay, are assumed.
Patients chosen for a skin disease (a study's cohort) have the ages of people with that disease.
"""

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.synthetic.people import ETHNICITIES, PRACTICES, REGIONS
from ehr_pipeline.synthetic.worlds.diagnoses import AGES, FRAILTY_VARIANCE, Diagnoses, population
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, FIRST_DAY, LAST_DAY, YEAR, Block, Mechanism, keyed

Floats = NDArray[np.float64]

STATUS = ("registered", "left", "died")
STATUS_SHARE = (0.72, 0.20, 0.08)
SKIN_DISEASES = {
    "atopic dermatitis": "atopic_dermatitis",
    "psoriasis": "psoriasis",
    "hidradenitis suppurativa": "hidradenitis_suppurativa",
    "bullous pemphigoid": "bullous_pemphigoid",
    "prurigo nodularis": "prurigo_nodularis",
}
"""Diagnoses for which a study's cohort is chosen, with their names in the truth."""
COHORT_WEIGHTS = (0.28, 0.30, 0.18, 0.14, 0.10)
NOBODY = -1
# London is more diverse than the rest (Census 2021, rounded); in the order of ETHNICITIES.
LONDON = (0.53, 0.21, 0.13, 0.06, 0.06, 0.01)
ACCESS_SPREAD = 0.4
"""Standard deviation of the log of how readily a patient comes. Assumed."""
SHORTEST_YEARS = 0.1


def stay(age: Floats) -> Floats:
    """Return the mean years that patients of each age have been with their practice. Assumed."""
    return np.interp(age, [0, 18, 25, 35, 50, 65, 80], [12, 8, 4, 6, 12, 18, 20])


class Population(Mechanism):
    """Patients with their registration."""

    name = "population"

    def __init__(self, diagnoses: Diagnoses, cohort_share: float, seed: int) -> None:
        self.diagnoses, self.cohort_share = diagnoses, cohort_share
        rng = keyed(seed, self.name)
        self.practice_region = rng.choice(len(REGIONS), len(PRACTICES), p=np.array(list(REGIONS.values())))
        sizes = rng.gamma(4, 1, len(PRACTICES))
        self.practice_share = sizes / sizes.sum()

    @cached_property
    def _cells(self) -> list[Floats]:
        """Return cumulative shares over (sex, status, age): a table for each skin disease, then one for all others."""
        ages = np.arange(100) + 0.5
        leaving = np.interp(ages, [0, 18, 22, 32, 45, 100], [1.2, 1.0, 3.0, 2.0, 0.7, 0.5])
        dying = np.exp(0.09 * ages)  # doubles every eight years
        tables = []
        for disease in (*SKIN_DISEASES, None):
            cells = []
            for women in (True, False):
                people = population(women)
                has = np.ones(100)
                if disease:
                    row = self.diagnoses.rows[self.diagnoses.index(disease)]
                    has = np.interp(ages, AGES, row.prevalence_by_age(women))
                for share, weight in zip(STATUS_SHARE, (np.ones(100), leaving, dying), strict=True):
                    cells.append(share * has * people * weight / (people * weight).sum())
            tables.append(np.cumsum(np.concatenate(cells) / np.sum(cells)))
        return tables

    def people(self, block: Block) -> None:
        """Draw the patients."""
        rng = block.rng(self.name)
        chosen = rng.random(BLOCK) < self.cohort_share
        disease = np.where(chosen, rng.choice(len(SKIN_DISEASES), BLOCK, p=COHORT_WEIGHTS), NOBODY)
        unit, cell = rng.random(BLOCK), np.empty(BLOCK, np.int64)
        for number, table in enumerate(self._cells):
            here = disease == (number if number < len(SKIN_DISEASES) else NOBODY)
            cell[here] = np.minimum(np.searchsorted(table, unit[here]), len(table) - 1)
        female, status, years = cell < 300, cell % 300 // 100, cell % 100
        age = years + rng.random(BLOCK)
        end = np.where(status == 0, LAST_DAY, rng.integers(FIRST_DAY + 4 * 365, LAST_DAY, BLOCK))
        birth = end - (age * YEAR).astype(np.int64)
        stayed = np.minimum(np.maximum(rng.exponential(stay(age)), SHORTEST_YEARS), age)
        joined = np.maximum(birth, end - np.ceil(stayed * YEAR).astype(np.int64))
        frailty = rng.gamma(np.where(status == 2, 1, 0) + 1 / FRAILTY_VARIANCE) * FRAILTY_VARIANCE
        practice = rng.choice(len(PRACTICES), BLOCK, p=self.practice_share)
        region = self.practice_region[practice]
        block.people |= {
            "birth": birth,
            "female": female,
            "status": status,
            "joined": joined,
            "start": np.maximum(joined, FIRST_DAY),
            "end": end,
            "frailty": frailty,
            "access": np.exp(rng.normal(-(ACCESS_SPREAD**2) / 2, ACCESS_SPREAD, BLOCK)),
            "practice": practice,
            "region": region,
            "ethnicity": _ethnicity(rng, region),
            "disease": disease,
        }


def _ethnicity(rng: np.random.Generator, region: NDArray[np.int64]) -> NDArray[np.int64]:
    england, london = np.array(list(ETHNICITIES.values())), np.array(LONDON)
    share = list(REGIONS.values())[list(REGIONS).index("London")]
    elsewhere = np.maximum(england - share * london, 0.001)
    unit = rng.random(len(region))[:, None]
    tables = np.where(
        (region == list(REGIONS).index("London"))[:, None],
        np.cumsum(london / london.sum()),
        np.cumsum(elsewhere / elsewhere.sum()),
    )
    drawn: NDArray[np.int64] = np.minimum((unit > tables).sum(axis=1), len(england) - 1)
    return drawn
