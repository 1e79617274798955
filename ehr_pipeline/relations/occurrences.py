"""Prepare records for counting: the day when each patient first had each concept, and how many visits contain two concepts.

Only the chosen concepts are kept. The first days are written to files that are mapped into memory, so memory does not grow with the
number of patients. Axes: n concepts, P patients, F entries (a patient and a concept that the patient has).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard
from ehr_pipeline.tables.compiled_loops import compiled
from ehr_pipeline.work.progress import Progress

YEAR = 365
NEVER = np.iinfo(np.int32).min
"""The index date of patients without one."""
FIELDS = {"place": np.int32, "day": np.int32, "recent": np.int16}


@dataclass(frozen=True)
class People:
    """The attributes by which patients are compared, and their index dates (P,)."""

    birth: NDArray[np.int32]
    sex: NDArray[np.int64]
    """The sex, as an index from 0."""
    practice: NDArray[np.int64]
    """The practice, as an index from 0; -1 if it is not known."""
    visits: NDArray[np.int32]
    concepts: NDArray[np.int32]
    """Different concepts in the record, compared or not."""
    first: NDArray[np.int32]
    """The day of the first visit."""
    last: NDArray[np.int32]
    """The day of the last visit, until which the patient is followed."""
    index: NDArray[np.int32]
    """The day of a random visit with at least a year of record before and enough time after it; NEVER if there is none."""
    recent: NDArray[np.int16]
    """Visits in the year before the index date."""


@dataclass(frozen=True)
class Occurrences:
    """First days of concepts by patient, and counts of visits."""

    concepts: int
    start: NDArray[np.int64]
    """The index of each patient's first entry, and the number of entries at the end (P + 1,)."""
    place: NDArray[np.int32]
    """The concept of each entry (F,). The entries of a patient are in order of time."""
    day: NDArray[np.int32]
    """The first day on which the patient had the concept (F,)."""
    recent: NDArray[np.int16]
    """The patient's visits in the year before that day (F,)."""
    people: People
    visits: int
    """Number of visits of all patients."""
    in_visits: NDArray[np.int32]
    """Number of visits that contain both concepts (n, n); the diagonal has the number of visits that contain the concept."""
    together: NDArray[np.int32]
    """Number of patients with a visit that contains both concepts (n, n)."""

    @property
    def patients(self) -> NDArray[np.int64]:
        """Patients who have each concept (n,)."""
        return np.bincount(self.place, minlength=self.concepts)

    @property
    def owner(self) -> NDArray[np.int64]:
        """The patient of each entry (F,)."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))


@dataclass(frozen=True)
class Source:
    """The records of one shard, and the sex and practice of each patient as indices from 0; -1 for a practice not known."""

    shard: Shard
    sex: NDArray[np.int64]
    practice: NDArray[np.int64]


def read(
    sources: Iterable[Source], place_of: NDArray[np.int32], after_days: int, *, seed: int, work: Path, total: int
) -> Occurrences:
    """Read shards. `place_of` (V,) holds the index of each token's concept; tokens with -1, or an id of V or more, are not
    chosen.

    A patient must be followed for `after_days` after an index date. `work` is a folder for the files, which must stay as long as
    the result is used. `total` is the number of sources.
    """
    concepts = int(place_of.max(initial=-1)) + 1
    counts = tuple(np.zeros((concepts, concepts), np.int32) for _ in range(2))
    stamps, visits, patients = np.full((concepts, concepts), -1, np.int32), 0, 0
    lengths, people = [np.zeros(1, np.int64)], list[People]()
    rng, progress = np.random.default_rng([seed, 0x7E1A]), Progress("counting concepts", total)
    files = {name: (work / name).open("wb") for name in FIELDS}
    last = np.full(concepts, -1, np.int64)
    try:
        for source in sources:
            recent = _recent(source.shard)
            entries, owner = _entries(source.shard, recent, place_of, (patients, last, stamps), counts)
            for name, values in entries.items():
                files[name].write(values.astype(FIELDS[name]).tobytes())
            some = len(source.shard.birth_day)
            lengths.append(np.bincount(owner, minlength=some))
            people.append(_people(source, recent, after_days, rng))
            visits, patients = visits + len(source.shard.visit_day), patients + some
            progress.advance(1)
    finally:
        for file in files.values():
            file.close()
    mapped = {name: _mapped(work / name, kind) for name, kind in FIELDS.items()}
    joined = People(*(np.concatenate([getattr(one, name) for one in people]) for name in People.__annotations__))
    start = np.cumsum(np.concatenate(lengths))
    return Occurrences(concepts, start, **mapped, people=joined, visits=visits, in_visits=counts[0], together=counts[1])


def _mapped(path: Path, kind: Any) -> NDArray[Any]:
    return np.memmap(path, kind, "r") if path.stat().st_size else np.zeros(0, kind)


def _entries(
    shard: Shard,
    recent: NDArray[np.int64],
    place_of: NDArray[np.int32],
    seen: tuple[int, NDArray[np.int64], NDArray[np.int32]],
    counts: tuple[NDArray[np.int32], ...],
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    """Count a shard's visits. Returns the first visit of each patient with each concept, in order of time, and the patient of each
    of these visits."""
    records = shard.tokens, shard.visit_start, shard.patient_start
    entries = np.empty((3, len(shard.tokens)), np.int64)
    place, visit, owner = entries[:, : _walk(records, place_of, seen, counts, entries)]
    return {"place": place, "day": shard.visit_day[visit], "recent": recent[visit]}, owner


@compiled
def _walk(records: Any, place_of: Any, seen: Any, counts: Any, out: Any) -> int:
    """Walk through visits: count pairs of their concepts, and note the first visit of each patient with each concept.

    `seen` holds the number of earlier patients, the last patient with each concept (n,), and the last patient with each pair in a
    visit (n, n). If several tokens of a visit stand for one concept, the concept counts once. Returns the number of first visits
    that were noted in `out` (3, tokens).
    """
    tokens, visit_start, patient_start = records
    before, last, stamps = seen
    visits, people = counts
    held, entries = np.empty(len(last), np.int64), 0
    for patient in range(len(patient_start) - 1):
        number = before + patient
        for visit in range(patient_start[patient], patient_start[patient + 1]):
            size = 0
            for token in range(visit_start[visit], visit_start[visit + 1]):
                i = place_of[tokens[token]] if tokens[token] < len(place_of) else -1
                known = i < 0
                for other in range(size):
                    known = known or held[other] == i
                if known:
                    continue
                held[size] = i
                size += 1
                if last[i] != number:
                    last[i] = number
                    out[0, entries], out[1, entries], out[2, entries] = i, visit, patient
                    entries += 1
            for one in range(size):
                for other in range(size):
                    i, j = held[one], held[other]
                    visits[i, j] += 1
                    if stamps[i, j] != number:
                        stamps[i, j] = number
                        people[i, j] += 1
    return entries


def _recent(shard: Shard) -> NDArray[np.int64]:
    """Return the number of visits of the same patient in the year before each visit (visits,)."""
    visits = len(shard.visit_day)
    owner = np.repeat(np.arange(len(shard.birth_day)), np.diff(shard.patient_start))
    key = owner.astype(np.int64) * 2**32 + shard.visit_day.astype(np.int64) + 2**31
    earliest = np.maximum(np.searchsorted(key, key - YEAR), shard.patient_start[owner])
    return np.minimum(np.arange(visits) - earliest, np.iinfo(np.int16).max)


def _different(shard: Shard) -> NDArray[np.int32]:
    """Return the number of different concepts of each patient (P,)."""
    counted = np.zeros(len(shard.birth_day), np.int32)
    last = np.full(int(shard.tokens.max(initial=0)) + 1, -1, np.int64)
    _count_different(shard.tokens, shard.patient_tokens, last, counted)
    return counted


@compiled
def _count_different(tokens: Any, start: Any, last: Any, out: Any) -> None:
    """Count the distinct tokens of each patient. `last` has the last patient with each token (V,)."""
    for patient in range(len(out)):
        for at in range(start[patient], start[patient + 1]):
            if last[tokens[at]] != patient:
                last[tokens[at]] = patient
                out[patient] += 1


def _people(source: Source, visits_before: NDArray[np.int64], after_days: int, rng: np.random.Generator) -> People:
    shard = source.shard
    patients, bounds = len(shard.birth_day), shard.patient_start.astype(np.int64)
    days = np.append(shard.visit_day, NEVER)
    number = np.diff(bounds)
    first = np.where(number > 0, days[np.minimum(bounds[:-1], len(days) - 1)], NEVER).astype(np.int32)
    last = np.where(number > 0, days[bounds[1:] - 1], NEVER).astype(np.int32)
    owner = np.repeat(np.arange(patients), number)
    usable = np.flatnonzero(may_be_index(shard.visit_day, first[owner], last[owner], after_days))
    many = np.bincount(owner[usable], minlength=patients)
    drawn = (np.cumsum(many) - many) + np.floor(rng.random(patients) * many).astype(np.int64)
    has = many > 0
    chosen = usable[drawn[has]]
    index, recent = np.full(patients, NEVER, np.int32), np.zeros(patients, np.int16)
    index[has], recent[has] = shard.visit_day[chosen], visits_before[chosen]
    of = shard.birth_day, source.sex, source.practice, number.astype(np.int32), _different(shard)
    return People(*of, first, last, index, recent)


def may_be_index(
    day: NDArray[np.int32], first: NDArray[np.int32], last: NDArray[np.int32], after_days: int
) -> NDArray[np.bool_]:
    """Return whether days may be index dates. The patient has to be followed long enough after the day; and the day must not be in
    the first year of the record, because that year may repeat older history."""
    return (day >= first + YEAR) & (day <= last - after_days)


def age(day: NDArray[np.int32], birth: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return ages in years on days."""
    return (day.astype(np.int64) - birth) / DAYS_IN_YEAR
