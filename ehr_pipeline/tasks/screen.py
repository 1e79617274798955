"""Choose the concepts of the screen: automatic tasks that ask whether a concept is recorded within a year of a landmark.

Concepts come first that have enough cases, and enough patients without, in the test set. This is estimated from the training set:
labels of the test set have no influence on which tasks it is used for.
"""

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.patients.settings import TEST, TRAIN
from ehr_pipeline.tables import schemas
from ehr_pipeline.tasks.index_dates import find_index_dates
from ehr_pipeline.tasks.label_job import LabelJob
from ehr_pipeline.tasks.records import key
from ehr_pipeline.tasks.rule import Rule, from_concept
from ehr_pipeline.tasks.settings import TasksSettings
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline.work.buckets import Spread

MIN_PATIENTS = 50
"""A concept is considered only if at least this many patients have it, because the name of the task reveals the concept."""
PER_TASK = 10
"""So many of the most frequent concepts are considered for each task."""
ENOUGH = 75
"""Expected cases in the test set that are enough for a concept: then the actual number is nearly always 50 or more."""
DIAGNOSES = re.compile("ICD|SCT|SNOMED|READ|CTV3|DIAGNOSIS|CONDITION|PHECODE", re.IGNORECASE)
"""Systems of codes for diagnoses, by the beginning of the concept. Where no concept has a semantic type, their concepts come first:
in data of a hospital, vital signs and laboratory tests are more frequent, but few people ask for their prediction."""
SAMPLE = 100_000
"""Cases are counted among about this many patients."""


@dataclass(frozen=True)
class Screen:
    """Tasks to choose from, in order of preference, and how many to choose."""

    candidates: tuple[Rule, ...] = ()
    number: int = 0


@dataclass(frozen=True)
class ScreenCounts:
    """Counts of one bucket."""

    cases: NDArray[np.int64]
    free: NDArray[np.int64]
    """Numbers of landmarks (r,) in the training set whose patient has the outcome of each rule in the window, or is free of it."""
    drawn: dict[str, int]
    """Number of landmarks by side of the split."""
    digests: tuple[bytes, ...]
    """For each rule, a digest of the cases: equal for concepts that are always recorded together, such as tests of a panel."""


def of(settings: TasksSettings, vocabulary: Vocabulary, types: Collection[str], visit_window: int) -> Screen:
    """Return the tasks to choose from: frequent concepts of these semantic types; if none has a type, of all, diagnoses first."""
    typed = [one for one in vocabulary.concepts if one.semantic_types]
    chosen = [one for one in typed if set(one.semantic_types) & set(types)] if typed else list(vocabulary.concepts)
    asked = {one.concept for one in chosen if typed or DIAGNOSES.match(one.concept)}
    ordered = sorted(chosen, key=lambda one: (one.concept not in asked, -one.patients, one.concept))
    rules = [
        from_concept(one.concept, visit_window, settings.screen_landmarks)
        for one in ordered
        if one.patients >= MIN_PATIENTS
    ]
    return Screen(tuple(rules[: PER_TASK * settings.screen]), settings.screen)


def choose(screen: Screen, jobs: Sequence[LabelJob], spread: Spread, workers: int) -> list[Rule]:
    """Return the rules of the chosen tasks. `jobs` are the buckets, whose own rules are not used."""
    if not screen.candidates or not jobs:
        return []
    sample, patients = [], 0
    for job in jobs:
        sample.append(replace(job, rules=screen.candidates))
        patients += schemas.read(job.split, ["side"]).num_rows
        if patients >= SAMPLE:
            break
    counted = spread(count_bucket, sample, workers, "choosing tasks")
    drawn = {side: sum(one.drawn[side] for one in counted) for side in (TRAIN, TEST)}
    scale = len(jobs) / len(sample) * drawn[TEST] / max(drawn[TRAIN], 1)
    rarer = np.minimum(sum(one.cases for one in counted), sum(one.free for one in counted)) * scale
    distinct: dict[tuple[bytes, ...], int] = {}
    for number in np.argsort(-np.minimum(rarer, ENOUGH), kind="stable").tolist():
        distinct.setdefault(tuple(one.digests[number] for one in counted), number)
    return [screen.candidates[number] for number in [*distinct.values()][: screen.number]]


def count_bucket(job: LabelJob) -> ScreenCounts:
    """Count the cases of one bucket. All rules differ in their concept only, so they have the same landmarks and windows."""
    records, sides, rule = job.records(), job.sides(), job.rules[0]
    dates = find_index_dates(records, rule, job.draw)
    drawn = {side: int((sides[dates.patient] == side).sum()) for side in (TRAIN, TEST)}
    train = sides[dates.patient] == TRAIN
    patient, index = dates.patient[train], dates.index[train]
    end, death = records.end[patient], records.death[patient]
    opens, closes = index + rule.opens, index + rule.closes
    # The events in the window of each landmark: a range of the sorted events.
    keys = key(records.patient, records.day)
    first = np.searchsorted(keys, key(patient, opens))
    number = np.maximum(np.searchsorted(keys, key(patient, np.minimum(closes, end)), side="right") - first, 0)
    landmark = np.repeat(np.arange(len(index)), number)
    event = np.arange(len(landmark)) + np.repeat(first - (number.cumsum() - number), number)
    concept, case = np.divmod(np.unique(records.concept[event] * max(len(index), 1) + landmark), max(len(index), 1))
    place = {name: row for row, name in enumerate(records.names)}
    whole = (end >= closes) | ((opens <= death) & (death <= closes) & (end == death))
    cases, free, digests = [], [], []
    for one in job.rules:
        row = place.get(next(iter(one.outcome)), -1)
        here = case[slice(*np.searchsorted(concept, (row, row + 1)))] if row >= 0 else case[:0]
        cases.append(len(here))
        free.append(int(whole.sum() - whole[here].sum()))
        digests.append(hashlib.blake2b(here.tobytes(), digest_size=16).digest())
    return ScreenCounts(np.array(cases), np.array(free), drawn, tuple(digests))
