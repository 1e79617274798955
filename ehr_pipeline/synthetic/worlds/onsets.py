"""When diagnoses begin, by age, sex, shared frailty, factors and the hazard ratios of groups; and when each is first recorded."""

from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.worlds.diagnoses import AGES, Diagnoses
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, YEAR, Block, Mechanism
from ehr_pipeline.synthetic.worlds.population import SKIN_DISEASES

Floats = NDArray[np.float64]

DELAY_DAYS = 45
"""Mean days from the onset to the first record. Assumed."""
HISTORY_ENTERED = 0.9
"""Share of diagnoses from before the registration that are entered on its day; the others later, on average a year. Assumed."""


def onset_age(exposure: Floats, hazard: Floats, switches: list[tuple[Floats, float]]) -> Floats:
    """Return ages in years at which the cumulative hazard reaches `exposure` (people,); infinity where it never does.

    `hazard` is the cumulative hazard by AGES. A switch is a pair of ages (people,) and a ratio, which multiplies the hazard from
    these ages on.
    """
    left, begun = exposure.copy(), np.zeros(len(exposure))
    ratio, age = np.ones(len(exposure)), np.full(len(exposure), np.nan)
    if switches:
        ages = np.stack([at for at, _ in switches])
        order = np.argsort(ages, axis=0)
        for rank in range(len(switches)):
            which = order[rank]
            at = np.interp(np.minimum(ages[which, np.arange(len(exposure))], AGES[-1]), AGES, hazard)
            begins = np.isnan(age) & (left < ratio * (at - begun))
            age[begins] = _age_at(begun[begins] + left[begins] / ratio[begins], hazard)
            left -= np.where(np.isnan(age), ratio * (at - begun), 0)
            ratio = ratio * np.array([r for _, r in switches])[which]
            begun = at
    rest = np.isnan(age)
    age[rest] = _age_at(begun[rest] + left[rest] / ratio[rest], hazard)
    return age


def _age_at(reached: Floats, hazard: Floats) -> Floats:
    rising = np.concatenate([[True], np.diff(hazard) > 0])
    ages: Floats = np.interp(reached, hazard[rising], AGES[rising], right=np.inf)
    return ages


class Onsets(Mechanism):
    """The onsets of the skin diseases (`skin`), or of all other diagnoses.

    `mean_ratio` holds, by name, the number by which a diagnosis' cumulative hazard is divided to keep its prevalence.
    """

    def __init__(self, name: str, diagnoses: Diagnoses, skin: bool, mean_ratio: dict[str, float] | None = None) -> None:
        self.name, self.diagnoses = name, diagnoses
        self.chosen = tuple(row.name for row in diagnoses.rows if (row.name in SKIN_DISEASES) == skin)
        self.skin, self.mean_ratio = skin, mean_ratio or {}
        if not skin:  # the mechanism of the other diagnoses, which comes after the skin diseases, writes all onsets
            self.truth = {
                "onsets": {
                    "patient_id": "patient",
                    "diagnosis": "name of the diagnosis",
                    "onset": "day on which it begins; may lie before the registration",
                    "recorded": "day on which it is first recorded; empty for never",
                }
            }

    @cached_property
    def _hazards(self) -> dict[str, tuple[Floats, Floats]]:
        """Return, by diagnosis, the cumulative hazards of women and of men by AGES."""
        return {
            name: (
                self.diagnoses.cumulative_hazard(name, True) / self.mean_ratio.get(name, 1.0),
                self.diagnoses.cumulative_hazard(name, False) / self.mean_ratio.get(name, 1.0),
            )
            for name in self.chosen
        }

    def onsets(self, block: Block) -> None:
        """Draw the days on which diagnoses begin and are first recorded."""
        for name in self.chosen:
            column = self.diagnoses.index(name)
            rng = block.rng(f"{self.name}: {name}")
            block.onset[:, column] = self._onset(rng, block, name)
            chosen = self._chosen(block, name)
            block.known[:, column] = first_record(rng, block, block.onset[:, column], chosen)
        if not self.skin:
            block.truth["onsets"] = self._truth(block)

    def _onset(self, rng: np.random.Generator, block: Block, name: str) -> Floats:
        row = self.diagnoses.rows[self.diagnoses.index(name)]
        birth, female = block.days("birth"), block.people["female"].astype(bool)
        exposure = rng.exponential(size=BLOCK) / block.hazard_ratio.get(name, np.ones(BLOCK))
        if row.frail:
            exposure = exposure / block.floats("frailty")
        switches = [
            ((block.onset[:, self.diagnoses.index(factor.factor)] - birth) / YEAR, factor.hazard_ratio)
            for factor in self.diagnoses.factors_of(name)
        ]
        age = np.empty(BLOCK)
        for women, hazard in zip((True, False), self._hazards[name], strict=True):
            here = female == women
            age[here] = onset_age(exposure[here], hazard, [(at[here], ratio) for at, ratio in switches])
        if self.skin:
            age = self._of_the_cohort(rng, block, name, age)
        return birth.astype(np.float64) + np.floor(age * YEAR)

    def _of_the_cohort(self, rng: np.random.Generator, block: Block, name: str, age: Floats) -> Floats:
        """Replace the ages at onset of patients chosen for the disease, so that it begins by the end of their record."""
        chosen = self._chosen(block, name)
        row = self.diagnoses.rows[self.diagnoses.index(name)]
        oldest = (block.days("end") - block.days("birth")) / YEAR
        unit = rng.random(BLOCK) * np.interp(oldest, AGES, row.reached)
        rising = np.concatenate([[True], np.diff(row.reached) > 0])
        return np.where(chosen, np.interp(unit, row.reached[rising], AGES[rising]), age)

    def _chosen(self, block: Block, name: str) -> NDArray[np.bool_]:
        if not self.skin:
            return np.zeros(BLOCK, bool)
        chosen: NDArray[np.bool_] = block.days("disease") == list(SKIN_DISEASES).index(name)
        return chosen

    def _truth(self, block: Block) -> pl.DataFrame:
        person, column = np.nonzero(block.onset <= block.days("end")[:, None])
        known = block.known[person, column]
        return pl.DataFrame(
            {
                "person": person,
                "diagnosis": np.array(self.diagnoses.names)[column],
                "onset": pl.Series(block.onset[person, column].astype(np.int32)).cast(pl.Date),
                "recorded": pl.Series(np.where(np.isfinite(known), known, -1).astype(np.int32)).cast(pl.Date),
            }
        ).with_columns(recorded=pl.when(pl.Series(np.isfinite(known))).then("recorded"))


def first_record(rng: np.random.Generator, block: Block, onset: Floats, certain: NDArray[np.bool_]) -> Floats:
    """Draw the day (people,) on which a diagnosis is first recorded; infinity if it never is.

    That day is after the onset, or on or after the day of registration if the onset was before it. For people who are `certain`
    (people,) and whose onset is by the last day, the diagnosis is recorded on that day at the latest.
    """
    start, end = block.days("start"), block.days("end")
    seen = onset + np.ceil(rng.exponential(DELAY_DAYS, BLOCK))
    later = start + np.ceil(rng.exponential(YEAR, BLOCK))
    history = np.where(rng.random(BLOCK) < HISTORY_ENTERED, start, later)
    known = np.where(onset < start, history, seen)
    known = np.where(certain & (onset <= end), np.minimum(known, end), known)
    return np.where((onset <= end) & (known <= end), known, np.inf)
