"""Labels as one would find them by hand: one patient at a time, one day after the other. Slow, and written apart from the stage."""

from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa

from ehr_pipeline.store.secret_key import siphash
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.hashing import hash_of
from ehr_pipeline.tasks.meds import DEATH
from ehr_pipeline.tasks.rule import VISIT, Rule

ORIGIN = 14_000  # days from 1970-01-01
LENGTH = 120
BIRTH = ORIGIN - 40 * 365


@dataclass
class Patient:
    """One made-up patient. Days are from ORIGIN."""

    name: str
    sex: str
    events: list[tuple[int, str]]
    """Day and concept; X is recorded, but in no vocabulary."""
    start: int | None
    end: int | None
    death: int | None
    side: str = "train"
    born: int = BIRTH
    visits: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.visits = sorted({day for day, concept in self.events if concept != "X"})

    def days_of(self, concepts: frozenset[str]) -> list[int]:
        found = {day for day, concept in self.events if concept in concepts}
        if VISIT in concepts:
            found |= {*self.visits}
        if DEATH in concepts and self.death is not None:
            found.add(self.death)
        return sorted(found)

    def observed(self, until: int | None) -> tuple[int, int]:
        every = sorted(day for day, _ in self.events)
        start = self.start if self.start is not None else every[0]
        end = self.end if self.end is not None else (until if until is not None else every[-1])
        return start, min(end, self.death) if self.death is not None else end


def draw_patients(rng: np.random.Generator, number: int) -> list[Patient]:
    made = []
    for place in range(number):
        days = rng.integers(0, LENGTH, rng.integers(3, 25))
        days = np.where(rng.random(len(days)) < 0.3, days[0], days)  # several on one day
        events = sorted({(int(day), str(rng.choice(list("AABCDXX")))) for day in days} | {(int(days[0]), "D")})
        start = int(rng.integers(-30, 40)) if rng.random() < 0.5 else None
        end = int(rng.integers(50, LENGTH + 30)) if rng.random() < 0.6 else None
        death = int(rng.integers(30, LENGTH + 10)) if rng.random() < 0.3 else None
        sex, side = str(rng.choice(["F", "M", ""])), str(rng.choice(["train", "validation", "test"]))
        made.append(
            Patient(f"p{place:03d}", sex, events, start, end, death, side, BIRTH - 365 * int(rng.integers(-30, 30)))
        )
    return made


def outcomes(patient: Patient, rule: Rule) -> list[int]:
    days = patient.days_of(rule.outcome)
    if rule.kind == "first":
        return days[:1]
    if rule.kind == "stop":
        return [day + rule.stop_days for day in days if not any(day < other <= day + rule.stop_days for other in days)]
    return days


def entry(patient: Patient, rule: Rule) -> int | None:
    """The day from which a patient is at risk; None: never."""
    if rule.entry is None:
        return -(10**6)
    days = patient.days_of(rule.entry)
    return days[rule.entry_days - 1] if len(days) >= rule.entry_days else None


def age(patient: Patient, day: int) -> float:
    return (ORIGIN + day - patient.born) / 365.2425


@dataclass(frozen=True)
class Until:
    """Until when patients are followed, in days from ORIGIN."""

    patient: int | None = None
    """Patients without an end of observation; None: until their last event."""
    data: int = 10**6
    """The last day of the data."""
    women: int = 10**6
    """The last day of the data of women, as of a hospital."""

    def data_of(self, patient: Patient) -> int:
        return min(self.data, self.women) if patient.sex == "F" else self.data


def index_days(patient: Patient, rule: Rule, draw: tuple[int, int], until: Until, given: list[int]) -> list[int]:
    if rule.index == "first_entry":
        found = entry(patient, rule)
        return [] if found is None else [found]
    if rule.index == "calendar":
        return [day - ORIGIN for day in rule.dates]
    if rule.index == "trigger":
        return patient.days_of(rule.entry or frozenset())
    if rule.index == "file":
        return [last - rule.last for last in given]
    since, (start, end) = entry(patient, rule), patient.observed(until.patient)
    eligible = []
    for place, day in enumerate(patient.visits):
        right_age = rule.ages[0] <= age(patient, day) < rule.ages[1] + 1
        if (
            since is not None
            and since < day
            and place + 1 >= rule.from_visit
            and start + rule.min_observed <= day <= end
            and right_age
            and day + rule.closes <= until.data_of(patient)
        ):
            eligible.append(day)
    base = int(hash_of(pl.Series([patient.name]))[0])
    words = [np.uint64((base + (ORIGIN + day) * 0x9E3779B97F4A7C15) % 2**64) for day in eligible]
    ranks = [int(siphash(np.array([word]), np.uint64(draw[0]), np.uint64(draw[1]))[0]) for word in words]
    ordered = [day for _, day in sorted(zip(ranks, eligible, strict=True))]
    return sorted(ordered[: rule.per_patient])


def fate(patient: Patient, rule: Rule, index: int, until: Until) -> tuple[str, bool, str, int]:
    """The reason why there is no label ('' if there is one), the label, how following ended, and after how many days."""
    start, end = patient.observed(until.patient)
    happened, known = outcomes(patient, rule), index + rule.last
    opens, closes = index + rule.opens, index + rule.closes
    last = known - rule.visit_window
    history = [day for day in patient.visits if day <= last and (not rule.lookback or day > last - rule.lookback)]
    if rule.index not in ("trigger", "file"):
        since = entry(patient, rule)
        if since is None or since > (index if rule.index == "first_entry" else known):
            return "never_at_risk", False, "", 0
    if not rule.ages[0] <= age(patient, index) < rule.ages[1] + 1 or (rule.sex and patient.sex != rule.sex):
        return "other_age_or_sex", False, "", 0
    if not start <= index <= end:
        return "not_observed", False, "", 0
    if index - start < rule.min_observed:
        return "observed_too_short", False, "", 0
    if len(history) < rule.min_visits:
        return "few_visits_before", False, "", 0
    if any(day <= known for day in patient.days_of(rule.exclude)):
        return "excluded_by_list", False, "", 0
    for condition in rule.conditions:
        days = [day for day in patient.days_of(condition.concepts) if condition.first <= day - index <= condition.last]
        if not condition.minimum <= len(days) <= condition.maximum:
            return "condition_not_met", False, "", 0
    if closes > until.data_of(patient):
        return "window_after_data", False, "", 0
    if rule.incident:
        for day in happened:
            if day <= known:
                return "outcome_before", False, "", 0
        if index in happened and known < index < opens:
            return "outcome_on_index_day", False, "", 0
        if any(index < day < opens for day in happened):
            return "outcome_in_gap", False, "", 0
    if patient.death is not None and patient.death < opens:
        return "died_before_window", False, "", 0
    if end < opens:
        return "left_before_window", False, "", 0
    seen = 0
    for day in range(opens, closes + 1):
        if day > end:
            return "left_in_window", False, "left", end - opens
        seen += day in happened
        if seen == rule.outcome_days:
            return "", True, "outcome", day - opens
        if day == patient.death:
            return "", False, "died", day - opens
    return "", False, "window", closes - opens


def as_tables(patients: list[Patient]) -> tuple[pa.Table, pa.Table, pa.Table]:
    """The mapped events, the data set and the split of one bucket."""
    tokens = {concept: number + 5 for number, concept in enumerate("ABCD")}
    rows = [(one.name, ORIGIN + day, concept) for one in patients for day, concept in one.events]
    names, days, concepts = zip(*rows, strict=True)
    columns = [
        pa.array(names).dictionary_encode(),
        pa.array(days, pa.int32()).cast(pa.date32()),
        pa.array(concepts).dictionary_encode(),
    ]
    events = pa.table(columns, schema=schemas.MAPPED_EVENTS)
    visits = [
        [
            {
                "date": ORIGIN + day,
                "concepts": sorted({tokens[concept] for when, concept in one.events if when == day and concept != "X"}),
            }
            for day in one.visits
        ]
        for one in patients
    ]
    kept = [place for place, one in enumerate(patients) if one.visits]

    def dates(values: list[int | None]) -> pa.Array:
        return pa.array([None if day is None else ORIGIN + day for day in values], pa.int32()).cast(pa.date32())

    as_days = pa.list_(pa.struct([("date", pa.int32()), ("concepts", pa.list_(pa.int32()))]))
    dataset = pa.table(
        {
            "patient_id": [one.name for one in patients],
            "birth_date": pa.array([one.born for one in patients], pa.int32()).cast(pa.date32()),
            "birth_precision": ["day"] * len(patients),
            "sex": [one.sex for one in patients],
            "death_date": dates([one.death if place % 2 else None for place, one in enumerate(patients)]),
            "died": [_text(None if place % 2 else one.death) for place, one in enumerate(patients)],
            "observation_end": dates([one.end for one in patients]),
            "observation_start": dates([one.start for one in patients]),
            "visits": pa.array(visits, as_days).cast(schemas.VISITS),
        }
    ).take(pa.array(kept))
    split = pa.table(
        [[patients[place].name for place in kept], [patients[place].side for place in kept]], schema=schemas.SPLIT
    )
    return events, dataset, split


def _text(day: int | None) -> str:
    return "" if day is None else str(np.datetime64("1970-01-01") + (ORIGIN + day))
