"""The diagnoses of a world: prevalence, ages at onset, codes; and the hazards that give these prevalences.

The numbers and their sources are in data/worlds/*.csv. Ages at onset are given as five quantiles (1, 25, 50, 75, 99 %) among
people who will ever have the diagnosis; between these, the distribution is piecewise normal. The share of people who will ever
have the diagnosis follows from its prevalence in the population of England.
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
"""Variance of a patient's frailty, which multiplies the hazards of many diagnoses (gamma, mean 1). Assumed."""
REGISTERED = 60e6
"""Patients registered in England in 2018-19, whose codes the NHS file counts."""

# Population of England in mid-2018 in percent, by five-year age bands from 0 to 94, and 95 and over; rounded, assumed.
POPULATION = (6.0, 6.3, 5.8, 5.4, 6.2, 6.8, 6.7, 6.6, 6.1, 6.8, 7.0, 6.3, 5.4, 5.0, 4.8, 3.3, 2.5, 1.5, 0.7, 0.2)


def population(women: bool) -> Floats:
    """Return the share of the people of one sex at each whole year of age from 0 to 99 (100,); sums to 1."""
    weights = np.repeat(np.array(POPULATION) / 5, 5)
    ages = np.arange(100)
    older = np.where(ages > 75, 1 + 0.02 * (ages - 75), 1.0)  # women live longer
    weights = weights * (older if women else 1 / older)
    shares: Floats = weights / weights.sum()
    return shares


@dataclass(frozen=True)
class Factor:
    """A diagnosis (`factor`) that raises the hazard of another one (`diagnosis`) from the factor's onset on."""

    factor: str
    diagnosis: str
    hazard_ratio: float


@dataclass(frozen=True)
class Diagnosis:
    """One diagnosis. `prevalence` is its share among people of `of_age` years and over; `codes` are synonyms."""

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
        """The share of the people who will ever have the diagnosis who have it by each of AGES (ages,)."""
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
        """Return the share of the people of one sex who will ever have the diagnosis."""
        return self._ever[0 if women else 1]

    @cached_property
    def _ever(self) -> tuple[float, float]:
        middle = np.interp(np.arange(100) + 0.5, AGES, self.reached)
        old = np.arange(100) >= self.of_age
        # By sex, the share of people of that age who would have the diagnosis if everybody got it at some time.
        both = [float((population(sex) * middle)[old].sum() / population(sex)[old].sum()) for sex in (True, False)]
        if self.women_to_men == 0:
            return 0.0, 2 * self.prevalence / both[1]
        men = 2 * self.prevalence / (self.women_to_men * both[0] + both[1])
        return self.women_to_men * men, men

    def prevalence_by_age(self, women: bool) -> Floats:
        """Return the share of the people of one sex who have the diagnosis by each of AGES (ages,)."""
        return self.ever(women) * self.reached

    @cached_property
    def overall(self) -> float:
        """Share of the people of all ages who have the diagnosis."""
        curves = [np.interp(np.arange(100) + 0.5, AGES, self.prevalence_by_age(sex)) for sex in (True, False)]
        return float(
            np.mean([(population(sex) * curve).sum() for sex, curve in zip((True, False), curves, strict=True)])
        )


@dataclass(frozen=True)
class Diagnoses:
    """All diagnoses, ordered so that factors come before the diagnoses whose hazard they raise."""

    rows: tuple[Diagnosis, ...]
    factors: tuple[Factor, ...]

    @classmethod
    def read(cls) -> "Diagnoses":
        """Read the shipped tables. Raises UserError if a prevalence cannot be reached, or a factor comes after its diagnosis."""
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
        """Names of the diagnoses, in the order of `rows`."""
        return tuple(row.name for row in self.rows)

    def index(self, name: str) -> int:
        """Return the index of a diagnosis, both of its row here and of its column in a block."""
        return self.names.index(name)

    def factors_of(self, name: str) -> list[Factor]:
        """Return the factors that raise the hazard of a diagnosis."""
        return [factor for factor in self.factors if factor.diagnosis == name]

    def cumulative_hazard(self, name: str, women: bool) -> Floats:
        """Return the cumulative hazard by each of AGES (ages,) of people without any factor, which gives the population its
        prevalence.

        With a gamma frailty of variance v, S = (1 + v H)^(-1/v). The hazard of the population is divided by the mean hazard ratio
        of the factors at each age. Factors are taken as independent. Where diagnosis and factor share the frailty, the factor's
        share is weighted by frailty: the mean frailty of people without the factor is S^v.
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
    """Read the rows of the shipped table worlds/`name`.csv."""
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
