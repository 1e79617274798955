"""An extract of the first generator in which some patients change from one group to another of the same disease, with its truth.

Before the change, a patient has the companions of the group they leave; from the day of the change on, those of the group they
join. The change lies in the middle of the record, so both states are recorded. Nobody else has two groups.
"""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from ehr_pipeline.synthetic import people, visits
from ehr_pipeline.synthetic.codes import CodeTable
from ehr_pipeline.synthetic.generate import generate
from ehr_pipeline.synthetic.groups import COMPANION_RATE, COMPANIONS, ELSEWHERE_RATE, GROUPS
from ehr_pipeline.synthetic.people import NO_GROUP

CHANGES = {
    "atopic march": "atopic, anxious adult",
    "psoriasis with low mood": "psoriatic arthritis",
    "hidradenitis, smoker": "hidradenitis, bowel disease",
    "pemphigoid, cardiac": "pemphigoid, neurological",
}
"""Groups that patients leave, and the groups they join. Changes go one way only, so no change back hides another."""
CHANGING_SHARE = 0.4
"""Share of patients who change, in each group that patients leave (the keys of CHANGES)."""
MIDDLE = (0.35, 0.65)
"""Range of the day of change, as a share of the time between a patient's first and last visit."""
COLUMNS = ("patient_id", "from_group", "to_group", "date", "age")


def choose(rng: np.random.Generator, people: pl.DataFrame) -> pl.DataFrame:
    """Return `people` with the patients who change marked: `second_group` is the group they join (NO_GROUP for everybody else).

    `change_at` is the share of the record before the change; null for everybody else.
    """
    names = [group.name for group in GROUPS]
    joins = np.full(len(GROUPS) + 1, NO_GROUP)
    for left, joined in CHANGES.items():
        joins[names.index(left)] = names.index(joined)
    group = people["group"].to_numpy()
    changes = (joins[group] != NO_GROUP) & (rng.random(people.height) < CHANGING_SHARE)
    at = rng.uniform(*MIDDLE, people.height)
    return people.with_columns(
        second_group=np.where(changes, joins[group], NO_GROUP),
        change_at=pl.Series(np.where(changes, at, np.nan)).fill_nan(None),
    )


def day_of_change(people: pl.DataFrame, person: NDArray[np.int64], day: NDArray[np.int64]) -> NDArray[np.float64]:
    """Day on which each patient changes (people,), from the visits of `person` (v,) on `day` (v,); infinity for no change."""
    first, last = np.full(people.height, np.inf), np.full(people.height, -np.inf)
    np.minimum.at(first, person, day)
    np.maximum.at(last, person, day)
    at = people["change_at"].to_numpy()
    return np.where(np.isnan(at), np.inf, np.ceil(first + at * (last - first)))


def companions(
    rng: np.random.Generator,
    people: pl.DataFrame,
    person: NDArray[np.int64],
    day: NDArray[np.int64],
    table: CodeTable,
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Draw companions in the visits of `person` (v,) on `day` (v,). Returns for each event the index of its visit, and its code."""
    after = day >= day_of_change(people, person, day)[person]
    state = np.where(after, people["second_group"].to_numpy()[person], people["group"].to_numpy()[person])
    visits, codes = [], []
    for companion in COMPANIONS:
        having = [number for number, planted in enumerate(GROUPS) if companion in planted.companions]
        rate = np.where(np.isin(state, having), COMPANION_RATE, ELSEWHERE_RATE)
        hit = np.flatnonzero(rng.random(len(person)) < rate)
        visits.append(hit)
        codes.append(table.synonyms(rng, companion, len(hit)))
    return np.concatenate(visits), np.concatenate(codes)


def truth(people: pl.DataFrame, person: NDArray[np.int64], day: NDArray[np.int64]) -> pl.DataFrame:
    """List the patients who change, with both groups, the day and the age in years; columns as in COLUMNS."""
    names = [*(group.name for group in GROUPS), ""]
    change = day_of_change(people, person, day)
    rows = np.flatnonzero(np.isfinite(change))
    changing = people[rows]
    date = pl.Series(change[rows].astype(np.int32)).cast(pl.Date)
    return pl.DataFrame(
        {
            "patient_id": changing["patient_id"],
            "from_group": [names[number] for number in changing["group"]],
            "to_group": [names[number] for number in changing["second_group"]],
            "date": date,
            "age": date.dt.year() - changing["year_of_birth"].cast(pl.Int32),
        }
    ).select(COLUMNS)


def generate_changing(out: Path, patients: int, seed: int) -> None:
    """Write an extract whose patients all belong to the cohort, and `truth/changes.csv`."""
    draw_people, draw_visits, draw_events = people.draw, visits._visits, visits.draw
    days: list[NDArray[np.int64]] = []
    changes: list[pl.DataFrame] = []

    def noting_days(rng: np.random.Generator, crowd: pl.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        person, day = draw_visits(rng, crowd)
        days[:] = [day]
        return person, day

    def noting_changes(rng: np.random.Generator, crowd: pl.DataFrame, background: visits.Background) -> pl.DataFrame:
        drawn = draw_events(rng, crowd, background)
        changes.append(truth(crowd, drawn["person"].to_numpy(), drawn["day"].to_numpy()))
        return drawn

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(people, "SECOND_GROUP_SHARE", 0.0)
        patch.setattr(people, "draw", lambda rng, *others: choose(rng, draw_people(rng, *others)))
        patch.setattr(visits, "_visits", noting_days)
        patch.setattr(
            visits, "_companions", lambda rng, crowd, person, table: companions(rng, crowd, person, days[0], table)
        )
        patch.setattr(visits, "draw", noting_changes)
        generate(out, patients, seed, cohort_share=1.0)
    pl.concat(changes).write_csv(out / "truth/changes.csv")
