"""Made-up visits and events: visit counts are long-tailed and grow with age, background codes have real frequencies.

What is not real: the age at which a code is most frequent is invented (drawn once for each code), and laboratory codes of the
international edition are more frequent than in the NHS file, where most laboratory results use UK-extension codes. So laboratory
and observable entities make up over 40 % of the mapped events, as in GP records whose mapping covers them.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.codes import CodeTable
from ehr_pipeline.synthetic.groups import COMPANION_RATE, COMPANIONS, DISEASE_RATE, DISEASES, ELSEWHERE_RATE, GROUPS
from ehr_pipeline.synthetic.people import END_YEAR
from ehr_pipeline.terminology import code_lists
from ehr_pipeline.terminology.shipped import shipped

AGE_BANDS = (18, 40, 60, 75)
FEMALE_ONLY = re.compile(
    r"pregnan|cervi(x|cal smear)|smear|contracept|breast|mammogra|gyn|uter|vagin|antenatal|menopaus|ovar", re.IGNORECASE
)
MALE_ONLY = re.compile(r"prostat|erectile|testic|scrot|penis|impotence|balanitis", re.IGNORECASE)

# The UK extension's share of background events, chosen so that about 45 % of all events can be mapped (as with the UMLS); and the
# factor by which laboratory codes of the international edition are drawn more often than in the NHS file.
UK_SHARE = 0.65
LABORATORY_BOOST = 5.5
# A quarter of the visits are for tests: they have many codes, most of them laboratory or observable.
TEST_VISITS = 0.25
LABORATORY_WEIGHT = {"test": 6.0, "consultation": 0.5}
SIZE = {
    "test": (11.0, 0.9),
    "consultation": (3.0, 1.3),
}  # median and spread (log-normal) of background events in a visit
BULK_RATE, BULK_SIZE = 1e-4, (650, 900)  # bulk entry at registration: a few visits with more than 512 concepts
FEW_VISITS_SHARE = 0.015  # patients with one or two visits


@dataclass(frozen=True)
class Background:
    """Frequencies of background codes, by kind of visit, sex and age band."""

    table: CodeTable

    @cached_property
    def codes(self) -> NDArray[np.object_]:
        """The codes as strings."""
        return self.table.codes["code"].to_numpy().astype(object)

    @cached_property
    def cumulative(self) -> dict[tuple[str, str, int], NDArray[np.float64]]:
        """Cumulative frequencies of `codes` (codes,), by kind of visit, sex and age band."""
        codes, laboratory, international = self.table.codes, self.table.laboratory, self.table.international
        weight = codes["usage"].to_numpy().astype(float) * np.where(laboratory & international, LABORATORY_BOOST, 1.0)
        concepts = {self.table.concept_of(code) for code in DISEASES.values()}
        listed = {row.code for disease in DISEASES for row in code_lists.read(shipped(f"lists/{disease}.csv"))}
        # Nobody outside the cohort has one of its diseases.
        weight[codes["cui"].fill_null("").is_in(sorted(concepts)).to_numpy()] = 0
        weight[codes["code"].is_in(sorted(listed)).to_numpy()] = 0
        names = codes["name"].to_list()
        only = {
            "F": np.array([not MALE_ONLY.search(n) for n in names]),
            "M": np.array([not FEMALE_ONLY.search(n) for n in names]),
        }
        peak = np.array([hash_unit(code) for code in self.codes]) * 90
        centres = np.array([9, 29, 50, 67, 82])
        frequencies = {}
        for kind, boost in LABORATORY_WEIGHT.items():
            for sex, allowed in only.items():
                for band, centre in enumerate(centres):
                    liking = 0.3 + np.exp(-(((peak - centre) / 35) ** 2))
                    drawn = weight * np.where(laboratory, boost, 1.0) * allowed * liking
                    for here, share in ((international, 1 - UK_SHARE), (~international, UK_SHARE)):
                        drawn[here] *= share / drawn[here].sum()
                    frequencies[kind, sex, band] = np.cumsum(drawn)
        return frequencies

    def draw(self, rng: np.random.Generator, kind: str, sex: str, band: int, count: int) -> NDArray[np.object_]:
        """Draw `count` codes for one kind of visit, sex and age band."""
        cumulative = self.cumulative[kind, sex, band]
        drawn: NDArray[np.object_] = self.codes[
            np.minimum(np.searchsorted(cumulative, rng.random(count) * cumulative[-1]), len(self.codes) - 1)
        ]
        return drawn


def hash_unit(code: str) -> float:
    """Return a number in [0, 1) that depends only on the code, and so never changes."""
    return int(code) * 2_654_435_761 % 2**32 / 2**32


def draw(rng: np.random.Generator, people: pl.DataFrame, background: Background) -> pl.DataFrame:
    """Draw the events of `people`: columns person (row of `people`), day (days from 1970-01-01), code."""
    visit_person, visit_day = _visits(rng, people)
    age = END_YEAR - people["year_of_birth"].to_numpy()
    years_back = (_day(END_YEAR) - visit_day) / 365.25
    band = np.searchsorted(AGE_BANDS, np.maximum(age[visit_person] - years_back, 0), side="right")
    parts = [
        _background(rng, people, background, visit_person, band),
        _companions(rng, people, visit_person, background.table),
        _diseases(rng, people, visit_person, background.table),
        _bulk(rng, len(visit_person), background.table),
    ]
    visit = np.concatenate([part[0] for part in parts])
    code = np.concatenate([part[1] for part in parts])
    return pl.DataFrame(
        {"person": visit_person[visit], "day": visit_day[visit], "code": pl.Series(code, dtype=pl.String)}
    )


Drawn = tuple[NDArray[np.int64], NDArray[np.object_]]  # index of the visit, code


def _visits(rng: np.random.Generator, people: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw each patient's visits over 2 to 20 years that end in 2019; their number is log-normal and grows with age.

    Returns the person and the day of each visit, both (visits,).
    """
    count = people.height
    age = END_YEAR - people["year_of_birth"].to_numpy()
    visits = np.clip(rng.lognormal(np.log(28), 0.8, count) * (0.45 + age / 55), 3, 400).astype(int)
    visits = np.where(rng.random(count) < FEW_VISITS_SHARE, rng.integers(1, 3, count), visits)
    years = np.minimum(rng.uniform(2, 20, count), np.maximum(age - 0.5, 0.5))
    person = np.repeat(np.arange(count), visits)
    day = _day(END_YEAR) - (rng.random(len(person)) * years[person] * 365.25).astype(int)
    # Two visits on one day count as one. No visit falls on a sentinel date.
    return person, day


def _day(year: int) -> int:
    """Return 31 March of a year, the day on which extracts are cut, in days from 1970-01-01."""
    return int(np.datetime64(f"{year}-03-31", "D").astype(int))


def _background(
    rng: np.random.Generator,
    people: pl.DataFrame,
    background: Background,
    visit_person: NDArray[np.int64],
    band: NDArray[np.int64],
) -> Drawn:
    test = rng.random(len(visit_person)) < TEST_VISITS
    female = (people["sex"] == "F").to_numpy()[visit_person]
    visits, codes = [], []
    for kind, is_test in (("test", True), ("consultation", False)):
        median, spread = SIZE[kind]
        for sex, is_female in (("F", True), ("M", False)):
            for number in range(len(AGE_BANDS) + 1):
                here = np.flatnonzero((test == is_test) & (female == is_female) & (band == number))
                sizes = np.clip(rng.lognormal(np.log(median), spread, len(here)), 1, 250).astype(int)
                visits.append(np.repeat(here, sizes))
                codes.append(background.draw(rng, kind, sex, number, int(sizes.sum())))
    return np.concatenate(visits), np.concatenate(codes)


def _companions(
    rng: np.random.Generator, people: pl.DataFrame, visit_person: NDArray[np.int64], table: CodeTable
) -> Drawn:
    """Draw each companion in each visit, at COMPANION_RATE for patients of a group that has it and at ELSEWHERE_RATE for all
    others."""
    group, second = people["group"].to_numpy()[visit_person], people["second_group"].to_numpy()[visit_person]
    visits, codes = [], []
    for companion in COMPANIONS:
        having = [number for number, planted in enumerate(GROUPS) if companion in planted.companions]
        member = np.isin(group, having) | np.isin(second, having)
        hit = np.flatnonzero(rng.random(len(visit_person)) < np.where(member, COMPANION_RATE, ELSEWHERE_RATE))
        visits.append(hit)
        codes.append(table.synonyms(rng, companion, len(hit)))
    return np.concatenate(visits), np.concatenate(codes)


def _diseases(
    rng: np.random.Generator, people: pl.DataFrame, visit_person: NDArray[np.int64], table: CodeTable
) -> Drawn:
    """Draw the codes of the cohort's diseases: for each patient in some visits, and always in the patient's first visit in the
    table."""
    disease = people["disease"].to_numpy()[visit_person]
    first = np.ones(len(visit_person), bool)
    first[1:] = visit_person[1:] != visit_person[:-1]
    visits, codes = [], []
    for name, code in DISEASES.items():
        hit = np.flatnonzero((disease == name) & (first | (rng.random(len(visit_person)) < DISEASE_RATE)))
        visits.append(hit)
        codes.append(table.synonyms(rng, code, len(hit)))
    return np.concatenate(visits), np.concatenate(codes)


def _bulk(rng: np.random.Generator, visits: int, table: CodeTable) -> Drawn:
    """Draw bulk entries: hundreds of different codes in a few visits."""
    frequent = table.codes.filter(pl.Series(table.international)).head(1500)["code"].to_numpy().astype(object)
    hit = np.flatnonzero(rng.random(visits) < BULK_RATE)
    sizes = rng.integers(*BULK_SIZE, len(hit))
    codes = [rng.choice(frequent, size, replace=False) for size in sizes]
    return np.repeat(hit, sizes), np.concatenate(codes) if codes else np.empty(0, object)
