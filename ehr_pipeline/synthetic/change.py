"""Patients who change from one group to another of the same disease, at a known age: for what tells of patients' evolution.

The groups are those of `synthetic.groups`. Before the change a patient carries the companions of the group they leave, from the
change on those of the group they join. The change lies in the middle of the record, so that both states are seen. Nobody else has
two groups.
"""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.codes import CodeTable
from ehr_pipeline.synthetic.groups import COMPANION_RATE, COMPANIONS, ELSEWHERE_RATE, GROUPS
from ehr_pipeline.synthetic.people import NO_GROUP

CHANGES = {
    "atopic march": "atopic, anxious adult",
    "psoriasis with low mood": "psoriatic arthritis",
    "hidradenitis, smoker": "hidradenitis, bowel disease",
    "pemphigoid, cardiac": "pemphigoid, neurological",
}
"""From which group to which; one way only, so that no change is hidden by another one back."""
CHANGING_SHARE = 0.4
"""Share of the patients of a group that is left."""
MIDDLE = (0.35, 0.65)
"""Where in the time between a patient's first and last visit the change may lie."""
COLUMNS = ("patient_id", "from_group", "to_group", "date", "age")


def choose(rng: np.random.Generator, people: pl.DataFrame) -> pl.DataFrame:
    """The people with those who change: `second_group` is the one that they join, `change_at` the part of the record before it.

    `change_at` is null for everybody else.
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
    """The day on which each of the people changes (people,), from all `day` (v,) of `person` (v,); infinity for who does not."""
    first, last = np.full(people.height, np.inf), np.full(people.height, -np.inf)
    np.minimum.at(first, person, day)
    np.maximum.at(last, person, day)
    at = people["change_at"].to_numpy()
    return np.where(np.isnan(at), np.inf, np.ceil(first + at * (last - first)))


def draw(
    rng: np.random.Generator,
    people: pl.DataFrame,
    person: NDArray[np.int64],
    day: NDArray[np.int64],
    table: CodeTable,
) -> tuple[NDArray[np.int64], NDArray[np.object_]]:
    """Companions in visits of `person` (v,) on `day` (v,): the index of the visit, and the code, for each event."""
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
    """Who changes, from which group to which, on which day and at which age in years: the columns COLUMNS."""
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
