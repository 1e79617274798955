"""Eight outcomes with a known hazard in each month, so that the best AUROC that any model can reach is known.

Their drivers are planted too: recurrent findings (counts), pairs of diagnoses A and B (order), the time since an event (gap), age
and sex. On each 1 January, the state of patients who have been registered for a year sets the hazard in the next twelve months; an
outcome happens once. The strength of each driver is chosen so that the true risk, used as a score, has the planned AUROC among all
patients and years still at risk. For outcomes driven by order, the planned AUROC is that among patients with both A and B. The
hazards of these patients are centred, so that having both is not informative. Which finding drives which outcome, and how often
findings occur, is invented.
"""

from collections.abc import Mapping
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.worlds import drivers as driving
from ehr_pipeline.synthetic.worlds.codebook import Codebook
from ehr_pipeline.synthetic.worlds.drivers import FINDINGS, INDEX, OUTCOMES, PAIRS, Drivers, Outcome
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, YEAR, Block, Mechanism, day
from ehr_pipeline.synthetic.worlds.population import Population

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]

MEAN_RISK = 0.03
"""Mean risk of each outcome within a year, over all patients and years."""
MOST_IN_A_MONTH = 0.2
REFERENCE_SEED, REFERENCE_BLOCKS = 2026, 8
"""Seed and number of blocks of the patients on whom the strengths are calibrated; no extract contains these patients."""
SHARES = (0.6, 0.3, 0.1)
"""Shares of an outcome's three codes."""
LEAVING = 0.03
"""Added hazard of leaving within a year, for patients with the mean rate of heartburn. Each patient's is proportional to their
own rate."""
DRIFT = day("2015-01-01")
DRIFTED = ("12676007", "17222009")
"""The first code of the fracture before DRIFT, and from DRIFT on."""
LEAK = ("pneumonia", "170609005", 0.9)
"""An outcome, a code recorded on the same day, and its chance. A model that sees that code too early predicts nearly everything."""


def weighted_auroc(score: Floats, cases: Floats, controls: Floats) -> float:
    """Return the chance that a case has a higher score than a control; ties count half.

    `cases` and `controls` (n,) are the weights of each score among the cases, and among the controls.
    """
    values, place = np.unique(score, return_inverse=True)
    case, control = (np.bincount(place, weight, len(values)) for weight in (cases, controls))
    below = np.cumsum(control) - control
    return float((case * (below + control / 2)).sum() / (case.sum() * control.sum()))


def yearly(monthly: Floats) -> Floats:
    """Return the risk within twelve months, from the chance in each month."""
    return 1 - (1 - monthly) ** 12


def _chance(outcome: Outcome, base: float, strength: float, score: Floats) -> Floats:
    """Return the chance that an outcome happens in a month, from the `score` of its driver.

    If the driver is an order, the factors of the two orders (A first, B first) average 1, so that having both is not informative.
    """
    factor = 1 + np.tanh(strength) * score if outcome.driver == "order" else np.exp(np.minimum(strength * score, 40))
    return np.minimum(-np.expm1(-base * factor), MOST_IN_A_MONTH)


class Outcomes(Mechanism):
    """The outcomes with their drivers."""

    name = "outcomes"

    def __init__(self, population: Population, book: Codebook) -> None:
        self.population, self.book = population, book
        pairs = [code for pair in PAIRS.values() for code in pair]
        outcomes = [code for one in OUTCOMES for code in one.codes]
        self.codes = book.rows([*FINDINGS.values(), *pairs, *outcomes, *DRIFTED, LEAK[1]])
        self.truth = {
            "risk": {
                "patient_id": "patient",
                "outcome": "name of the outcome",
                "index": "1 January whose state sets the hazard; the patient is registered for a year, and free of the outcome",
                "monthly": "chance of the outcome in each of the twelve months that follow",
                "risk": "chance within the twelve months; the best score that there is",
                "both": "whether the patient has both A and B of the outcome's pair by then (false where there is no pair)",
                "happened": "whether it happened within the twelve months, even if the patient had left or died by then",
            },
            "outcomes": {
                "patient_id": "patient",
                "outcome": "name of the outcome",
                "date": "day of the outcome",
                "seen": "whether the patient was registered on that day, so that it is in the record",
            },
        }

    @property
    def shared_truth(self) -> Mapping[str, tuple[pl.DataFrame, Mapping[str, str]]]:
        """Each outcome with its driver and its strength."""
        table = pl.DataFrame(
            {
                "outcome": [one.name for one in OUTCOMES],
                "codes": [" ".join(one.codes) for one in OUTCOMES],
                "driver": [one.driver for one in OUTCOMES],
                "finding": [FINDINGS.get(one.finding, "") for one in OUTCOMES],
                "pair": [" ".join(PAIRS.get(one.pair, ())) for one in OUTCOMES],
                "auroc": [one.auroc for one in OUTCOMES],
                "among": ["those with A and B" if one.among_both else "all" for one in OUTCOMES],
                "base": [self.strengths[one.name][0] for one in OUTCOMES],
                "strength": [self.strengths[one.name][1] for one in OUTCOMES],
            }
        )
        meaning = {
            "outcome": "name",
            "codes": f"SNOMED codes; shares {', '.join(map(str, SHARES))}",
            "driver": "what the hazard depends on",
            "finding": "code that is counted, or since which the gap is taken",
            "pair": "codes A and B",
            "auroc": "of the true risk, by plan",
            "among": "patients among whom this is so",
            "base": "hazard of a month at score 0",
            "strength": "factor of the driver in the logarithm of the hazard",
        }
        return {"outcomes_plan": (table, meaning)}

    def people(self, block: Block) -> None:
        """Draw each patient's rates of the findings; patients with much heartburn leave earlier."""
        rng = block.rng("outcomes: people")
        for name in FINDINGS:
            block.people[f"rate of {name}"] = rng.gamma(
                driving.FINDING_SHAPE, driving.FINDING_RATE / driving.FINDING_SHAPE, BLOCK
            )
        hazard = LEAVING * block.floats("rate of heartburn") / driving.FINDING_RATE
        leaves = block.days("start") + 30 + np.floor(rng.exponential(size=BLOCK) / np.maximum(hazard, 1e-9) * YEAR)
        early = leaves < block.days("end")
        block.people["end"] = np.where(early, leaves, block.days("end")).astype(np.int64)
        block.people["status"] = np.where(early, 1, block.days("status"))

    def events(self, block: Block) -> None:
        """Record the drivers and the outcomes."""
        drivers = driving.draw_drivers(block)
        rng = block.rng("outcomes: records")
        for name, (person, when) in drivers.findings.items():
            block.record(person, when, np.full(len(person), self.book.row(FINDINGS[name])))
        for pair, begins in drivers.begins.items():
            for code, begin in zip(PAIRS[pair], begins, strict=True):
                person = np.flatnonzero(np.isfinite(begin))
                # The number of records does not depend on when a diagnosis begins, so it does not reveal the order.
                person = np.repeat(person, 1 + rng.poisson(0.7, len(person)))
                first = np.concatenate([[True], person[1:] != person[:-1]]) if len(person) else np.empty(0, bool)
                later = np.where(first, 0, rng.integers(1, 60, len(person)))
                block.record(person, begin[person].astype(np.int64) + later, np.full(len(person), self.book.row(code)))
        risks, outcomes = [], []
        for outcome in OUTCOMES:
            risk, happened = self.simulate(block, drivers, outcome)
            risks.append(risk)
            outcomes.append(happened)
            self._record(rng, block, outcome, happened)
        block.truth["risk"], block.truth["outcomes"] = pl.concat(risks), pl.concat(outcomes)

    def simulate(self, block: Block, drivers: Drivers, outcome: Outcome) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Draw an outcome. Returns a table of the risk on each index date, and a table of who has the outcome, and when."""
        rng = block.rng(f"outcomes: {outcome.name}")
        base, strength = self.strengths[outcome.name]
        monthly = _chance(outcome, base, strength, driving.score(block, drivers, outcome))
        eligible, both = driving.at_risk(block), driving.have_both(drivers, outcome)
        month = rng.geometric(np.maximum(monthly, 1e-12))  # (people, years): the month in which it would happen
        happens = eligible & (month <= 12)
        first = np.where(happens.any(axis=1), happens.argmax(axis=1), len(INDEX))
        kept = eligible & (np.arange(len(INDEX)) <= first[:, None])
        person, index = np.nonzero(kept)
        risk = pl.DataFrame(
            {
                "person": person,
                "outcome": outcome.name,
                "index": pl.Series(INDEX[index].astype(np.int32)).cast(pl.Date),
                "monthly": monthly[person, index],
                "risk": yearly(monthly[person, index]),
                "both": both[person, index],
                "happened": happens[person, index],
            }
        )
        person = np.flatnonzero(first < len(INDEX))
        of_month = rng.integers(0, 30, len(person))
        date = (
            INDEX[first[person]] + np.floor((month[person, first[person]] - 1) * YEAR / 12).astype(np.int64) + of_month
        )
        happened = pl.DataFrame(
            {
                "person": person,
                "outcome": outcome.name,
                "date": pl.Series(date.astype(np.int32)).cast(pl.Date),
                "seen": block.registered(person, date),
            }
        )
        return risk, happened

    def _record(self, rng: np.random.Generator, block: Block, outcome: Outcome, happened: pl.DataFrame) -> None:
        person, date = happened["person"].to_numpy(), happened["date"].cast(pl.Int32).to_numpy().astype(np.int64)
        times = 1 + rng.poisson(1.0, len(person))
        who = np.repeat(np.arange(len(person)), times)
        first = np.concatenate([[True], who[1:] != who[:-1]]) if len(who) else np.empty(0, bool)
        when = date[who] + np.where(first, 0, rng.integers(7, 200, len(who)))
        code = self.book.rows(outcome.codes)[
            np.searchsorted(np.cumsum(SHARES[:-1]), rng.random(len(who)), side="right")
        ]
        if outcome.codes[0] == DRIFTED[0]:
            code = np.where((code == self.book.row(DRIFTED[0])) & (when >= DRIFT), self.book.row(DRIFTED[1]), code)
        block.record(person[who], when, code)
        if outcome.name == LEAK[0]:
            leaks = rng.random(len(person)) < LEAK[2]
            block.record(person[leaks], date[leaks], np.full(int(leaks.sum()), self.book.row(LEAK[1])))

    @cached_property
    def strengths(self) -> dict[str, tuple[float, float]]:
        """Base hazard and strength of each outcome. They are calibrated on the reference patients, and so are the same for all
        seeds."""
        blocks = list(self._reference())
        found = {}
        for outcome in OUTCOMES:
            scores = [driving.score(block, drivers, outcome) for block, drivers in blocks]
            eligible = np.concatenate([driving.at_risk(block) for block, _ in blocks])
            among = np.concatenate([driving.have_both(drivers, outcome) for _, drivers in blocks])
            found[outcome.name] = _calibrated(outcome, np.concatenate(scores), eligible, among)
        return found

    def _reference(self) -> list[tuple[Block, Drivers]]:
        made = []
        for number in range(REFERENCE_BLOCKS):
            block = Block(REFERENCE_SEED, number, self.population.diagnoses)
            self.population.people(block)
            self.people(block)
            made.append((block, driving.draw_drivers(block)))
        return made


def _calibrated(
    outcome: Outcome, scores: Floats, eligible: NDArray[np.bool_], both: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the base hazard and the strength of the driver that give MEAN_RISK and the planned AUROC.

    The strength is found by bisection. Raises ValueError if no strength gives the AUROC.
    """
    if outcome.driver == "nothing":
        return _base(outcome, 0.0, scores[eligible]), 0.0
    low, high, reached = 0.0, 12.0, 0.0
    for _ in range(16):
        strength = (low + high) / 2
        base = _base(outcome, strength, scores[eligible])
        risk = yearly(_chance(outcome, base, strength, scores))
        # Weight of each patient and year: the chance that the outcome has not happened before.
        free = np.cumprod(np.where(eligible, 1 - risk, 1.0), axis=1)
        weight = np.concatenate([np.ones((len(risk), 1)), free[:, :-1]], axis=1)
        kept = eligible & both if outcome.among_both else eligible
        reached = weighted_auroc(risk[kept], (weight * risk)[kept], (weight * (1 - risk))[kept])
        low, high = (strength, high) if reached < outcome.auroc else (low, strength)
    if abs(reached - outcome.auroc) > 0.003:
        raise ValueError(f"{outcome.name}: no strength gives an AUROC of {outcome.auroc}")
    return base, strength


def _base(outcome: Outcome, strength: float, scores: Floats) -> float:
    """Return the base hazard that gives the planned mean risk, by iteration: risks are nearly in proportion to it."""
    base = MEAN_RISK / 12 / float(np.exp(np.minimum(strength * scores, 40)).mean())
    for _ in range(8):
        base *= MEAN_RISK / float(yearly(_chance(outcome, base, strength, scores)).mean())
    return base
