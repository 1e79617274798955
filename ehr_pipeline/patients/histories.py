"""Histories: what is known about patients by the end of a day. A history is stored as if it were a patient, and is read in the
same way.

No polars here: GPU workers use this module. Axes: H histories.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.patients.shard import Shard

ALWAYS = -(1 << 30)
"""First day of a history that has all visits up to its last day."""
_OFFSET, _PATIENT = 1 << 31, 32


def cut(shard: Shard, patients: NDArray[np.integer], first: NDArray[np.integer], last: NDArray[np.integer]) -> Shard:
    """A shard whose rows are histories: the visits of `patients` (H,) from day `first` (H,) to day `last` (H,), both included.

    `patients` are rows of the shard, in any order and as often as wanted. Days are counted from 1970-01-01; ALWAYS as first day
    leaves no early visit out. A history without a visit has no tokens. Only what is kept is copied.
    """
    owner = np.repeat(np.arange(len(shard.birth_day)), np.diff(shard.patient_start))
    visits = _key(owner, shard.visit_day)  # ascending: patient by patient, and sorted by day within each
    begin = np.searchsorted(visits, _key(patients, first), side="left")
    end = np.maximum(np.searchsorted(visits, _key(patients, last), side="right"), begin)
    visit = _ranges(begin, end)
    sizes = np.diff(shard.visit_start)[visit]
    token = _ranges(shard.visit_start[visit], shard.visit_start[visit + 1])
    return Shard(
        tokens=shard.tokens[token],
        visit_start=_starts(sizes),
        visit_day=shard.visit_day[visit],
        patient_start=_starts(end - begin),
        birth_day=shard.birth_day[patients],
        birth_year_only=shard.birth_year_only[patients],
    )


def with_visit(shard: Shard, token: int, day: NDArray[np.integer]) -> Shard:
    """The shard with a further visit of one `token` at the end of every record, on the given days (one for each row)."""
    at_visit, at_token = shard.patient_start[1:], shard.visit_start[shard.patient_start[1:]]
    sizes = np.insert(np.diff(shard.visit_start), at_visit, 1)
    return replace(
        shard,
        tokens=np.insert(shard.tokens, at_token, token),
        visit_start=_starts(sizes),
        visit_day=np.insert(shard.visit_day, at_visit, np.asarray(day, shard.visit_day.dtype)),
        patient_start=(shard.patient_start + np.arange(len(shard.patient_start))).astype(shard.patient_start.dtype),
    )


def without(shard: Shard, token: NDArray[np.integer]) -> Shard:
    """The shard without one token in each record (H,); visits that held no other token are removed."""
    of_record = np.diff(shard.patient_tokens)
    kept = shard.tokens != np.repeat(token, of_record)
    starts = np.concatenate([[0], np.cumsum(kept)]).astype(np.int32)[shard.visit_start]
    some = np.diff(starts) > 0
    visits_before = np.concatenate([[0], np.cumsum(some)]).astype(np.int32)
    return replace(
        shard,
        tokens=shard.tokens[kept],
        visit_start=np.append(starts[:-1][some], starts[-1]),
        visit_day=shard.visit_day[some],
        patient_start=visits_before[shard.patient_start],
    )


def _key(patients: NDArray[np.integer], day: NDArray[np.integer]) -> NDArray[np.int64]:
    """Patient and day in one number (n,), in order of patients, then days."""
    return (patients.astype(np.int64) << _PATIENT) + day.astype(np.int64) + _OFFSET


def _ranges(begin: NDArray[np.integer], end: NDArray[np.integer]) -> NDArray[np.int64]:
    """The numbers from each begin to before its end, one range after the other."""
    sizes = (end - begin).astype(np.int64)
    found: NDArray[np.int64] = np.arange(int(sizes.sum())) + np.repeat(begin - (np.cumsum(sizes) - sizes), sizes)
    return found


def _starts(sizes: NDArray[np.integer]) -> NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
