"""The records of one bucket as tasks need them: flat arrays over the n patients of the data set.

The days with a concept are stored as sorted keys (patient, day), so that two binary searches count the keys in a range of days.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.tables import align, row_keys, schemas
from ehr_pipeline.tables.compiled_loops import compiled
from ehr_pipeline.tables.hashing import hash_of_column
from ehr_pipeline.tasks.data_end import NEVER, DataEnd
from ehr_pipeline.tasks.meds import DEATH
from ehr_pipeline.tasks.rule import VISIT

Days = NDArray[np.int64]
"""Days (c,), from 1970-01-01."""
Keys = NDArray[np.int64]
"""Sorted keys (k,) of patients and days."""


@dataclass(frozen=True)
class Deaths:
    """How deaths are recorded, besides the patients' day of death: as concepts, or as an attribute with a date."""

    concepts: frozenset[str] = frozenset()
    attribute: str = ""
    format: str = "%Y-%m-%d"


@dataclass(frozen=True)
class Records:
    """The patients of a bucket, and their events with a concept that a task uses."""

    ids: pa.Array
    """Patient ids (n,), in the order of the data set."""
    hashes: NDArray[np.uint64]
    birth: Days
    sex: NDArray[np.object_]
    start: Days
    """First and last day (n,) on which the patient was observed; a death ends observation."""
    end: Days
    death: Days
    """Day of death (n,), or NEVER."""
    visits: Keys
    patient: NDArray[np.int64]
    """Patient, day and concept (three arrays) of each event (m,) with a listed concept, sorted by patient and day."""
    day: Days
    concept: NDArray[np.int64]
    names: tuple[str, ...]
    """Names of the concepts that occur."""
    data_end: Days
    """The last day of the data (n,) of the patient's group (`data_end`)."""

    def days_of(self, concepts: frozenset[str]) -> Keys:
        """Return the distinct days with any of the concepts. DEATH means the day of death, VISIT every visit."""
        wanted = np.array([name in concepts for name in self.names], bool)
        here = wanted[self.concept] if len(self.names) else np.zeros(0, bool)
        keys = key(self.patient[here], self.day[here])
        if DEATH in concepts:
            dead = np.flatnonzero(self.death < NEVER)
            keys = np.concatenate([keys, key(dead, self.death[dead])])
        if VISIT in concepts:
            keys = np.concatenate([keys, self.visits])
        return np.unique(keys)


def key(patient: NDArray[np.integer], day: NDArray[np.integer]) -> Keys:
    """Return the keys (c,) of patients and days; days outside the calendar become its first or last day."""
    inside = np.clip(day.astype(np.int64), row_keys.FIRST_DAY, row_keys.LAST_DAY)
    return (patient.astype(np.int64) << row_keys.DAY_BITS) + (inside - row_keys.FIRST_DAY)


def patients(keys: Keys) -> NDArray[np.int64]:
    """Return the patients of keys."""
    return keys >> row_keys.DAY_BITS


def days(keys: Keys) -> Days:
    """Return the days of keys."""
    day: Days = (keys & (2**row_keys.DAY_BITS - 1)) + row_keys.FIRST_DAY
    return day


def count(keys: Keys, patient: NDArray[np.int64], first: Days, last: Days) -> NDArray[np.int64]:
    """Count (c,) the keys of each patient from day `first` to day `last`, both included; 0 if `last` is before `first`."""
    after = np.searchsorted(keys, key(patient, last), side="right")
    before = np.searchsorted(keys, key(patient, first), side="left")
    return np.where(last >= first, after - before, 0)


def nth(keys: Keys, patient: NDArray[np.int64], first: Days, number: int) -> Days:
    """Return the day (c,) of each patient's key number `number` (from 1) on or after day `first`; NEVER if there are fewer."""
    place = np.searchsorted(keys, key(patient, first), side="left") + number - 1
    candidate = np.append(keys, np.int64(-1))[np.minimum(place, len(keys))]
    return np.where((candidate >= 0) & (patients(candidate) == patient), days(candidate), NEVER)


@dataclass(frozen=True)
class FollowUp:
    """How long patients are followed."""

    until: int | None
    """Patients without a known end of observation are followed until this day; None: until their last event."""
    data_end: DataEnd = field(default_factory=DataEnd)


def read(events: Path, dataset: Path, listed: frozenset[str], deaths: Deaths, follow_up: FollowUp) -> Records:
    """Read one bucket of the mapped events and of the patient data set. `listed` are the concepts that tasks use."""
    people, shard = schemas.read(dataset), Shard.read(dataset)
    ids = align.one_chunk(people.column("patient_id"))
    n = len(ids)
    patient, day, concept, event_ids, names = row_keys.from_table(schemas.read(events), "concept")
    row = align.rows(event_ids.cast(pa.string()), ids).astype(np.int32)
    first, last = extent = np.array([[2**30], [-(2**30)]], np.int64).repeat(n, axis=1)
    _extent(patient, day, row, extent)
    is_listed = pc.is_in(names.cast(pa.string()), value_set=pa.array(sorted(listed | deaths.concepts), pa.string()))
    wanted = is_listed.to_numpy(zero_copy_only=False)
    here = np.empty(len(patient), np.int64)
    here = here[: _find_events(patient, concept, row, wanted, here)]
    here = here[np.argsort(row[patient[here]], kind="stable")]  # events of a patient are in order of days
    event_patient, event_day, event_concept = (
        row[patient[here]].astype(np.int64),
        day[here].astype(np.int64),
        concept[here].astype(np.int64),
    )
    kept = tuple(names.cast(pa.string()).filter(pa.array(wanted)).to_pylist())
    place = np.cumsum(wanted) - 1
    event_concept = place[event_concept] if len(place) else event_concept
    death = _deaths(
        people,
        event_patient,
        event_day,
        np.array([name in deaths.concepts for name in kept], bool)[event_concept],
        deaths,
    )
    start = _column(people, schemas.OBSERVATION[0], first)
    end = _column(
        people, schemas.OBSERVATION[1], np.full(n, follow_up.until, np.int64) if follow_up.until is not None else last
    )
    return Records(
        ids=ids,
        hashes=hash_of_column(ids) if n else np.zeros(0, np.uint64),
        birth=shard.birth_day.astype(np.int64),
        sex=np.array(people.column("sex").to_pylist(), object),
        start=start,
        end=np.minimum(end, death),
        death=death,
        visits=key(np.repeat(np.arange(n), np.diff(shard.patient_start)), shard.visit_day),
        patient=event_patient,
        day=event_day,
        concept=event_concept,
        names=kept,
        data_end=follow_up.data_end.of(people),
    )


def _column(people: pa.Table, name: str, otherwise: Days) -> Days:
    """Return a column of dates as days (n,). Where it is empty or missing, use the days in `otherwise` (n,)."""
    if name not in people.column_names:
        return otherwise
    column = people.column(name).cast(pa.int32())
    known = column.is_valid().to_numpy()
    return np.where(known, column.fill_null(0).to_numpy().astype(np.int64), otherwise)


def _deaths(people: pa.Table, patient: NDArray[np.int64], day: Days, dead: NDArray[np.bool_], deaths: Deaths) -> Days:
    """Return the earliest recorded day of death (n,), or NEVER. `dead` flags the events (m,) that record a death."""
    death = _column(people, schemas.DEATH, np.full(people.num_rows, NEVER, np.int64))
    np.minimum.at(death, patient[dead], day[dead])
    if deaths.attribute:
        text = pl.Series(people.column(deaths.attribute)).cast(pl.String).str.strip_chars()
        dates = text.str.to_date(deaths.format, strict=False).cast(pl.Int32).fill_null(NEVER)
        death = np.minimum(death, dates.to_numpy().astype(np.int64))
    return death


@compiled
def _extent(
    patient: NDArray[np.int32], day: NDArray[np.int32], row: NDArray[np.int32], extent: NDArray[np.int64]
) -> None:
    """Widen `extent` (2, n), the first and last day of each patient in the data set, to include all days with an event. `row` maps
    each patient to a row of the data set, or to -1."""
    for place in range(len(patient)):
        patient_row = row[patient[place]]
        if patient_row >= 0:
            extent[0, patient_row] = min(extent[0, patient_row], day[place])
            extent[1, patient_row] = max(extent[1, patient_row], day[place])


@compiled
def _find_events(
    patient: NDArray[np.int32],
    concept: NDArray[np.int32],
    row: NDArray[np.int32],
    wanted: NDArray[np.bool_],
    index: NDArray[np.int64],
) -> int:
    """Write to `index` the indices of the events with a wanted concept and a patient in the data set. Returns their number."""
    number = 0
    for place in range(len(patient)):
        if wanted[concept[place]] and row[patient[place]] >= 0:
            index[number] = place
            number += 1
    return number
