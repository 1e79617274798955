"""The eight outcomes of the plan `outcomes`, and their drivers on each index date: findings, pairs of diagnoses, age and sex."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, YEAR, Block, day

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

INDEX = np.array([day(f"{year}-01-01") for year in range(2003, 2019)])
"""Index dates (years,); the hazard is set again on each of them."""
# Recurrent findings with their codes. Each patient's rate is gamma-distributed with this mean (events a year) and shape.
FINDINGS = {"heartburn": "16331000", "hoarseness": "50219008", "swollen ankle": "267039000", "ankle sprain": "44465007"}
FINDING_RATE, FINDING_SHAPE = 0.8, 0.7
COUNTED_DAYS = 730
# Pairs of diagnoses A and B. A patient has each of them with this chance; it begins on a random day in the record's first half.
PAIRS = {
    "elbow and finger": ("202855006", "1539003"),
    "veins and bursa": ("72866009", "7674000"),
    "lipoma and ganglion": ("93163002", "202942009"),
}
PAIR_CHANCE = 0.85
GAP_YEARS = 1.0


@dataclass(frozen=True)
class Outcome:
    """One outcome: its codes, its driver, and the AUROC of the true risk."""

    name: str
    codes: tuple[str, str, str]
    driver: str
    auroc: float
    finding: str = ""
    pair: str = ""

    @property
    def among_both(self) -> bool:
        """Whether the AUROC is defined among patients with both A and B, and not among all patients."""
        return self.driver == "order"


OUTCOMES = (
    Outcome("diverticulitis", ("397881000", "307496006", "398050005"), "count", 0.85, finding="heartburn"),
    Outcome("pneumonia", ("385093006", "233604007", "312342009"), "count", 0.80, finding="hoarseness"),
    Outcome("thrombosis", ("59282003", "128053003", "404223003"), "order", 0.70, pair="elbow and finger"),
    Outcome("pancreatitis", ("197456007", "235494005", "75694006"), "order", 0.70, pair="veins and bursa"),
    Outcome("fracture", ("12676007", "208393000", "58150001"), "gap", 0.75, finding="ankle sprain"),
    Outcome(
        "syncope",
        ("271594007", "309585006", "272030005"),
        "mixed",
        0.85,
        finding="swollen ankle",
        pair="lipoma and ganglion",
    ),
    Outcome("leg ulcer", ("95344007", "402863005", "19429009"), "age and sex", 0.70),
    Outcome("stye", ("1489008", "414521009", "302899001"), "nothing", 0.50),
)


@dataclass(frozen=True)
class Drivers:
    """The planted events of a block, which determine the state of each driver on each index date."""

    findings: dict[str, tuple[Numbers, Numbers]]
    """For each finding, the patient and the day of each event."""
    begins: dict[str, tuple[Floats, Floats]]
    """For each pair, the days on which A and B begin (people,); infinity for never."""


def draw_drivers(block: Block) -> Drivers:
    """Draw the planted events of a block."""
    rng = block.rng("outcomes: drivers")
    start, end = block.days("start"), block.days("end")
    findings = {}
    for name in FINDINGS:
        counts = rng.poisson(block.floats(f"rate of {name}") * (end - start + 1) / YEAR)
        person = np.repeat(np.arange(BLOCK), counts)
        findings[name] = (
            person,
            start[person] + np.floor(rng.random(len(person)) * (end - start + 1)[person]).astype(np.int64),
        )
    begins = {}
    for pair in PAIRS:
        days = start + np.floor(rng.random((2, BLOCK)) * (end - start + 1) / 2)
        days = np.where(rng.random((2, BLOCK)) < PAIR_CHANCE, days, np.inf)
        days[1] += days[0] == days[1]
        begins[pair] = days[0], days[1]
    return Drivers(findings, begins)


def at_risk(block: Block) -> NDArray[np.bool_]:
    """Return whether a patient is registered on each index date, and has been for a year (people, years)."""
    start, end = block.days("start")[:, None], block.days("end")[:, None]
    return (start + 365 <= INDEX) & (end >= INDEX)


def have_both(drivers: Drivers, outcome: Outcome) -> NDArray[np.bool_]:
    """Return whether a patient has both A and B before each index date (people, years)."""
    if not outcome.pair:
        return np.zeros((BLOCK, len(INDEX)), bool)
    first, second = drivers.begins[outcome.pair]
    return np.maximum(first, second)[:, None] < INDEX


def count_before(person: Numbers, when: Numbers, days: int) -> Floats:
    """Return the number of events in the `days` days before each index date (people, years)."""
    counted = np.zeros((BLOCK, len(INDEX)))
    for year, index in enumerate(INDEX):
        here = (when < index) & (when >= index - days)
        counted[:, year] = np.bincount(person[here], minlength=BLOCK)
    return counted


def score(block: Block, drivers: Drivers, outcome: Outcome) -> Floats:
    """Return the state of the outcome's driver on each index date (people, years). The hazard follows from this state."""
    age = (INDEX - block.days("birth")[:, None]) / YEAR / 25
    woman = block.people["female"].astype(bool)[:, None]
    match outcome.driver:
        case "count":
            return np.log1p(count_before(*drivers.findings[outcome.finding], COUNTED_DAYS))
        case "order":
            return _ordered(drivers, outcome)
        case "gap":
            person, when = drivers.findings[outcome.finding]
            last = np.full((BLOCK, len(INDEX)), -np.inf)
            for year, index in enumerate(INDEX):
                np.maximum.at(last[:, year], person[when < index], when[when < index].astype(float))
            gap: Floats = np.exp(-(INDEX - last) / YEAR / GAP_YEARS)
            return gap
        case "mixed":
            counts = np.log1p(count_before(*drivers.findings[outcome.finding], COUNTED_DAYS))
            return counts + 0.5 * np.sign(_ordered(drivers, outcome)) + 0.5 * age
        case "age and sex":
            return age + 0.4 * woman
        case _:
            return np.zeros((BLOCK, len(INDEX)))


def _ordered(drivers: Drivers, outcome: Outcome) -> Floats:
    """Return 1 for A before B, -1 for B before A, and 0 where either is missing (people, years)."""
    first, second = drivers.begins[outcome.pair]
    sign = np.where(first < second, 1.0, -1.0)[:, None]
    return np.where(have_both(drivers, outcome), sign, 0.0)
