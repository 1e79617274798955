"""Two mechanisms: patients who change from one group to another on a known day; and two groups that differ by age, without any
change.

Patients have the findings of their group again and again, at visits that other mechanisms created. Findings and rates are invented.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.worlds.codebook import Codebook
from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, YEAR, Block, GroupRow, Mechanism
from ehr_pipeline.synthetic.worlds.population import NOBODY, SKIN_DISEASES
from ehr_pipeline.synthetic.worlds.skin import patients_truth
from ehr_pipeline.synthetic.worlds.visits import Visits, label

Numbers = NDArray[np.int64]

STATES = {
    "restless": ("399153001", "225624000", "314938000"),  # vertigo, panic attack, poor sleep pattern
    "heavy": ("248480008", "10601006", "139394000"),  # swelling of legs, pain in a lower limb, nocturia
    "sore": ("81680005", "82991003", "35678005"),  # neck pain, generalized aches, pain in several joints
    "weak": ("64379006", "84229001", "40739000"),  # less appetite, fatigue, dysphagia
}
"""Findings that the patients of each group have again and again."""
CHANGES = {"restless": "heavy", "sore": "weak"}
"""Groups that patients leave, and the groups they join. Changes go one way only, so that no change back hides another."""
CHANGING, MIDDLE = 0.4, (0.35, 0.65)
"""Share of a group's patients who change; and range of the day of change, as a share of the registration."""
AT_A_VISIT, ELSEWHERE = 0.12, 0.01
"""Chance of each finding at a visit: for the group's patients, and for everybody else."""
AGEING_DISEASE, AGEING_GROUPS = "psoriasis", {"younger": STATES["restless"], "older": STATES["heavy"]}
TURN, WIDTH = 50.0, 6.0
"""Age (in the middle of the record) at which both groups are equally common, and scale in years of the logistic curve."""


def _record(rng: np.random.Generator, block: Block, visits: Visits, state: Numbers, codes: Sequence[Numbers]) -> None:
    """Record findings at visits. `state` is the number of the patient's group at each visit, or NOBODY (visits,)."""
    for number, own in enumerate(codes):
        for code in own:
            hit = np.flatnonzero(rng.random(len(state)) < np.where(state == number, AT_A_VISIT, ELSEWHERE))
            visits.record(block, hit, code)


def _rows(states: Mapping[str, Sequence[str]], book: Codebook) -> list[GroupRow]:
    return [GroupRow.of_code(name, code, book) for name, codes in states.items() for code in codes]


def _changes(person: Numbers, left: Sequence[str], joined: Sequence[str], on: Numbers, age: Numbers) -> pl.DataFrame:
    """Return the table of the changes; empty where nobody changes."""
    return pl.DataFrame(
        {
            "person": person,
            "from_group": pl.Series(left, dtype=pl.String),
            "to_group": pl.Series(joined, dtype=pl.String),
            "date": pl.Series(on.astype(np.int32)).cast(pl.Date),
            "age": age,
        }
    )


CHANGE_COLUMNS = {
    "patient_id": "patient",
    "from_group": "group before the day, as in patients.csv",
    "to_group": "group from the day on",
    "date": "day of the change",
    "age": "age in whole years on that day",
}


class Change(Mechanism):
    """Groups of the patients with a skin disease; some patients leave theirs for another group."""

    name = "change"

    def __init__(self, book: Codebook) -> None:
        self.names, self.findings = list(STATES), [book.rows(codes) for codes in STATES.values()]
        self.codes, self.groups = np.concatenate(self.findings), _rows(STATES, book)
        self.truth = {"patients": patients_truth("group at the beginning; empty for none"), "changes": CHANGE_COLUMNS}

    def events(self, block: Block) -> None:
        """Choose groups and changes, and record the findings."""
        rng = block.rng(self.name)
        visits = Visits.of(block)
        group = np.where(block.days("disease") != NOBODY, rng.integers(0, len(STATES), BLOCK), NOBODY)
        joins = np.array([*(self.names.index(CHANGES[name]) if name in CHANGES else NOBODY for name in STATES), NOBODY])
        changes = (joins[group] != NOBODY) & (rng.random(BLOCK) < CHANGING)
        start, end = block.days("start"), block.days("end")
        on = start + np.ceil(rng.uniform(*MIDDLE, BLOCK) * (end - start)).astype(np.int64)
        after = changes[visits.person] & (visits.day >= on[visits.person])
        state = np.where(after, joins[group][visits.person], group[visits.person])
        _record(rng, block, visits, state, self.findings)
        label(block, group, self.names)
        who = np.flatnonzero(changes)
        names = np.array(self.names)
        age = np.floor((on - block.days("birth"))[who] / YEAR).astype(np.int64)
        left, joined = names[group[who]].tolist(), names[joins[group[who]]].tolist()
        block.truth["changes"] = _changes(who, left, joined, on[who], age)


class Ageing(Mechanism):
    """Two groups of one disease that differ by age. Each has its findings throughout; patients grow older, but nobody changes."""

    name = "ageing"

    def __init__(self, book: Codebook) -> None:
        self.findings = [book.rows(codes) for codes in AGEING_GROUPS.values()]
        self.codes, self.groups = np.concatenate(self.findings), _rows(AGEING_GROUPS, book)
        meaning = f"group of those with {AGEING_DISEASE}, for good; empty for everybody else"
        self.truth = {
            "patients": patients_truth(meaning),
            "changes": CHANGE_COLUMNS,
        }  # the table of the changes is empty

    def events(self, block: Block) -> None:
        """Choose the groups, and record their findings."""
        rng = block.rng(self.name)
        visits = Visits.of(block)
        middle = ((block.days("start") + block.days("end")) / 2 - block.days("birth")) / YEAR
        older = rng.random(BLOCK) < 1 / (1 + np.exp(-(middle - TURN) / WIDTH))
        has = block.days("disease") == list(SKIN_DISEASES).index(AGEING_DISEASE)
        group = np.where(has, older.astype(np.int64), NOBODY)
        _record(rng, block, visits, group[visits.person], self.findings)
        label(block, group, list(AGEING_GROUPS))
        none = np.empty(0, np.int64)
        block.truth["changes"] = _changes(none, [], [], none, none)
