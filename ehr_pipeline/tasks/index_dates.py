"""Choose the index dates: the days on which predictions are made. No function in this module reads the outcome.

c is the number of index dates; a patient may have several.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.patients.shard import DAYS_IN_YEAR
from ehr_pipeline.store.secret_key import siphash
from ehr_pipeline.tables import align, schemas
from ehr_pipeline.tasks.data_end import NEVER
from ehr_pipeline.tasks.records import Days, Keys, Records, count, days, key, nth, patients
from ehr_pipeline.tasks.rule import Rule

NO_ENTRY, NO_VISIT = "never_at_risk", "no_visit_to_predict_at"
_LARGEST = np.uint64(2**64 - 1)


@dataclass(frozen=True)
class IndexDates:
    """The patient and the day (c,) of each prediction."""

    patient: NDArray[np.int64]
    index: Days
    missing: dict[str, int]
    """The number of missing index dates by reason: a patient has one, or as many as the task asks for landmarks."""
    labels: NDArray[np.bool_] | None = None
    """Labels (c,) from the user's file; None if labels do not come from a file."""


def entry_day(records: Records, rule: Rule) -> Days:
    """Return the day (n,) from which each patient is at risk, or NEVER. Without an entry list, all are at risk from the first day
    of the calendar."""
    every_patient = np.arange(len(records.ids))
    if rule.entry is None:
        return np.full(len(every_patient), -NEVER, np.int64)
    return nth(records.days_of(rule.entry), every_patient, np.full(len(every_patient), -NEVER), rule.entry_days)


def find_index_dates(records: Records, rule: Rule, draw: tuple[int, int]) -> IndexDates:
    """Return the index dates of a task. `draw`: two words that key the random draw of landmarks."""
    match rule.index:
        case "first_entry":
            day = entry_day(records, rule)
            at_risk = np.flatnonzero(day < NEVER)
            return IndexDates(at_risk, day[at_risk], {NO_ENTRY: len(day) - len(at_risk)})
        case "calendar":
            patient = np.repeat(np.arange(len(records.ids)), len(rule.dates))
            return IndexDates(patient, np.tile(np.array(rule.dates, np.int64), len(records.ids)), {})
        case "trigger":
            keys = records.days_of(rule.entry or frozenset())
            return IndexDates(patients(keys), days(keys), {NO_ENTRY: len(records.ids) - len(np.unique(patients(keys)))})
        case "file":
            return _from_file(records, rule)
        case _:
            return _landmarks(records, rule, draw)


def ages(records: Records, patient: NDArray[np.int64], day: Days) -> NDArray[np.float64]:
    """Return ages (c,) in years."""
    return (day - records.birth[patient]) / DAYS_IN_YEAR


def _landmarks(records: Records, rule: Rule, draw: tuple[int, int]) -> IndexDates:
    """Draw landmarks at random from the visits at which the patient is at risk, by what is known on that day.

    Visits are ranked by a keyed hash of the patient and the day, so that an additional visit changes few landmarks.
    """
    patient, day = patients(records.visits), days(records.visits)
    entry = entry_day(records, rule)
    age = ages(records, patient, day)
    starts = np.searchsorted(
        records.visits, key(np.arange(len(records.ids) + 1), np.full(len(records.ids) + 1, -NEVER))
    )
    eligible = (
        (np.arange(len(day)) - starts[patient] >= rule.from_visit - 1)
        & (entry[patient] < day)
        & (records.start[patient] + rule.min_observed <= day)
        & (day <= records.end[patient])
        & (day + rule.closes <= records.data_end[patient])
        & (age >= rule.ages[0])
        & (age < rule.ages[1] + 1)
    )
    with np.errstate(over="ignore"):
        words = records.hashes[patient] + day.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    rank = siphash(words, np.uint64(draw[0]), np.uint64(draw[1]))
    rank[~eligible] = _LARGEST
    chosen = np.zeros(len(day), bool)
    with_visits = np.flatnonzero(np.diff(starts) > 0)  # patients without a visit would get a neighbour's visit
    for _ in range(rule.per_patient if len(day) else 0):
        least = np.minimum.reduceat(rank, starts[with_visits])
        best = np.zeros(len(records.ids), np.uint64)
        best[with_visits] = least
        drawn = (rank == best[patient]) & (rank < _LARGEST)
        chosen |= drawn
        rank[drawn] = _LARGEST
    landmarks = np.flatnonzero(chosen)
    never = int((entry >= NEVER).sum()) * rule.per_patient
    none = len(records.ids) * rule.per_patient - len(landmarks) - never
    return IndexDates(patient[landmarks], day[landmarks], {NO_ENTRY: never, NO_VISIT: none})


def _from_file(records: Records, rule: Rule) -> IndexDates:
    """Return the index dates in the user's file for the patients of this bucket, from the copy written by `label_file.locate`."""
    table = schemas.read(Path(rule.file))
    row = align.rows(table.column("patient_id"), records.ids)
    here = np.flatnonzero(row >= 0)
    table = table.take(pa.array(here))
    index = table.column("last_day").to_numpy().astype(np.int64) - rule.last
    order = np.argsort(key(row[here], index), kind="stable")
    labels = table.column("label").to_numpy()[order] if rule.labelled_by_file else None
    return IndexDates(row[here][order], index[order], {}, labels)


def history(records: Records, rule: Rule, patient: NDArray[np.int64], index: Days) -> tuple[Days, Days, Keys]:
    """Return the first and the last day (c,) of each history, and its number of visits (c,)."""
    last = index + rule.last - rule.visit_window
    first = last - rule.lookback + 1 if rule.lookback else np.full(len(index), -NEVER, np.int64)
    return first, last, count(records.visits, patient, first, last)
