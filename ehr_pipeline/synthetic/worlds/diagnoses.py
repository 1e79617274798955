"""The diagnoses of a world: prevalence, ages at onset, codes; and the hazards that give these prevalences.

The numbers and their sources are in data/worlds/*.csv. Ages at onset are five quantiles (1, 25, 50, 75, 99 %) of those who will
ever have the diagnosis; between them the distribution is normal in pieces. The share that will ever have it follows from the
prevalence in the population of England.
"""

import csv
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from ehr_pipeline.errors import UserError
from ehr_pipeline.terminology.shipped import shipped

Floats = NDArray[np.float64]

AGES = np.arange(0, 111, 0.25)
"""Ages in years at which curves are tabulated."""
PROBITS = np.array([-2.3263, -0.6745, 0.0, 0.6745, 2.3263])
FRAILTY_VARIANCE = 0.5
"""Of the frailty that patients share over many diagnoses (gamma, mean 1). Assumed."""
REGISTERED = 60e6
"""Patients registered in England in 2018-19, of whom the NHS file counts the codes."""

# Population of England in mid-2018 by five years of age from 0 to 94 and 95 up, in percent; rounded, assumed.
POPULATION = (6.0, 6.3, 5.8, 5.4, 6.2, 6.8, 6.7, 6.6, 6.1, 6.8, 7.0, 6.3, 5.4, 5.0, 4.8, 3.3, 2.5, 1.5, 0.7, 0.2)


def population(women: bool) -> Floats:
    """Share of the population at each whole year of age from 0 to 99 (100,), among the people of one sex; sums to 1."""
    weights = np.repeat(np.array(POPULATION) / 5, 5)
    ages = np.arange(100)
    older = np.where(ages > 75, 1 + 0.02 * (ages - 75), 1.0)  # women live longer
    weights = weights * (older if women else 1 / older)
    shares: Floats = weights / weights.sum()
    return shares


@dataclass(frozen=True)
class Factor:
    """What raises the hazard of a diagnosis from its own onset on."""

    factor: str
    diagnosis: str
    hazard_ratio: float


@dataclass(frozen=True)
class Diagnosis:
    """One diagnosis. `prevalence` is the share of people of `of_age` years and over; `codes` are synonyms."""

    name: str
    codes: tuple[str, ...]
    prevalence: float
    of_age: int
    women_to_men: float
    onset_ages: tuple[float, ...]
    frail: bool
    source: str
    source_of_ages: str

    @cached_property
    def reached(self) -> Floats:
        """Share of those who will ever have it who have it by each of AGES (ages,)."""
        ages = np.array(self.onset_ages)
        first, last = (
            (PROBITS[1] - PROBITS[0]) / (ages[1] - ages[0]),
            (PROBITS[-1] - PROBITS[-2]) / (ages[-1] - ages[-2]),
        )
        probit = np.interp(AGES, ages, PROBITS)
        probit = probit - first * np.maximum(ages[0] - AGES, 0) + last * np.maximum(AGES - ages[-1], 0)
        below = ndtr(probit[0])
        share: Floats = np.maximum(ndtr(probit) - below, 0) / (1 - below)
        return share

    def ever(self, women: bool) -> float:
        """Share of one sex that will ever have it."""
        return self._ever[0 if women else 1]

    @cached_property
    def _ever(self) -> tuple[float, float]:
        middle = np.interp(np.arange(100) + 0.5, AGES, self.reached)
        old = np.arange(100) >= self.of_age
        # Shares of the people of that age who have it, if everybody of a sex will ever have it.
        both = [float((population(sex) * middle)[old].sum() / population(sex)[old].sum()) for sex in (True, False)]
        if self.women_to_men == 0:
            return 0.0, 2 * self.prevalence / both[1]
        men = 2 * self.prevalence / (self.women_to_men * both[0] + both[1])
        return self.women_to_men * men, men

    def prevalence_by_age(self, women: bool) -> Floats:
        """Share of one sex who have it by each of AGES (ages,)."""
        return self.ever(women) * self.reached

    @cached_property
    def overall(self) -> float:
        """Share of people of all ages who have it."""
        curves = [np.interp(np.arange(100) + 0.5, AGES, self.prevalence_by_age(sex)) for sex in (True, False)]
        return float(
            np.mean([(population(sex) * curve).sum() for sex, curve in zip((True, False), curves, strict=True)])
        )


@dataclass(frozen=True)
class Diagnoses:
    """All diagnoses, in an order in which factors come before what they cause."""

    rows: tuple[Diagnosis, ...]
    factors: tuple[Factor, ...]

    @classmethod
    def read(cls) -> "Diagnoses":
        """Read the shipped tables. Raises UserError where they contradict each other."""
        rows = tuple(_diagnosis(row) for row in read_table("diagnoses"))
        names = [row.name for row in rows]
        factors = tuple(
            Factor(row["factor"], row["diagnosis"], float(row["hazard_ratio"])) for row in read_table("factors")
        )
        for row in rows:
            if max(row.ever(True), row.ever(False)) > 0.97:
                raise UserError(f"{row.name}: its prevalence cannot be reached with its ages at onset")
        for factor in factors:
            if names.index(factor.factor) >= names.index(factor.diagnosis):
                raise UserError(f"{factor.factor} must come before {factor.diagnosis}, whose hazard it raises")
        return cls(rows, factors)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """In the order of the rows."""
        return tuple(row.name for row in self.rows)

    def index(self, name: str) -> int:
        """The column of a diagnosis."""
        return self.names.index(name)

    def factors_of(self, name: str) -> list[Factor]:
        """What raises the hazard of a diagnosis."""
        return [factor for factor in self.factors if factor.diagnosis == name]

    def cumulative_hazard(self, name: str, women: bool) -> Floats:
        """Of people without any factor, by each of AGES (ages,), so that the whole population has the prevalence.

        With a gamma frailty of variance v, S = (1 + v H)^(-1/v). The hazard of the population is divided by the mean hazard ratio
        of its factors at each age, taken as independent of each other, each weighted by frailty where both share it: the frailty of
        those without the factor is S^v on the mean.
        """
        row = self.rows[self.index(name)]
        curve = row.prevalence_by_age(women)
        v = FRAILTY_VARIANCE
        total = ((1 - curve) ** -v - 1) / v if row.frail else -np.log1p(-curve)
        mean = np.ones(len(AGES))
        for factor in self.factors_of(name):
            cause = self.rows[self.index(factor.factor)]
            without = 1 - cause.prevalence_by_age(women)
            share = 1 - without ** (1 + v) if row.frail and cause.frail else 1 - without
            mean *= 1 + (factor.hazard_ratio - 1) * share
        return np.cumsum(np.diff(total, prepend=0) / mean)


def read_table(name: str) -> list[dict[str, str]]:
    """The rows of a shipped table of the worlds."""
    with shipped(f"worlds/{name}.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _diagnosis(row: dict[str, str]) -> Diagnosis:
    return Diagnosis(
        row["name"],
        tuple(row["codes"].split()),
        float(row["prevalence"]) / 100,
        int(row["of_age"]),
        float(row["women_to_men"]),
        tuple(float(age) for age in row["onset_ages"].split()),
        row["frail"] == "1",
        row["source"],
        row["source_of_ages"],
    )
