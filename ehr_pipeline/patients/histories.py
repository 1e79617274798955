"""Histories: the records of patients up to the end of a day, stored and read like patients.

No polars here: GPU workers use this module. Axes: H histories.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.patients.shard import Shard, starts_of

ALWAYS = -(1 << 30)
"""First day of a history with all visits up to its last day."""
_OFFSET, _PATIENT = 1 << 31, 32


def cut(shard: Shard, patients: NDArray[np.integer], first: NDArray[np.integer], last: NDArray[np.integer]) -> Shard:
    """Return a shard of histories: the visits of `patients` (H,) from day `first` (H,) to day `last` (H,), both included.

    `patients` are rows of the shard, in any order, repeats allowed. Days are counted from 1970-01-01; with ALWAYS as first day, a
    history starts at the first visit. A history without a visit has no tokens. Only the selected visits are copied.
    """
    owner = np.repeat(np.arange(len(shard.birth_day)), np.diff(shard.patient_start))
    visits = _key(owner, shard.visit_day)  # ascending: patient by patient, and sorted by day within each
    begin = np.searchsorted(visits, _key(patients, first), side="left")
    end = np.maximum(np.searchsorted(visits, _key(patients, last), side="right"), begin)
    return shard.between(patients, begin, end)


def with_visit(shard: Shard, token: int, day: NDArray[np.integer]) -> Shard:
    """Return the shard with another visit, of one `token`, at the end of every record, on the given day of each row."""
    at_visit, at_token = shard.patient_start[1:], shard.visit_start[shard.patient_start[1:]]
    sizes = np.insert(np.diff(shard.visit_start), at_visit, 1)
    return replace(
        shard,
        tokens=np.insert(shard.tokens, at_token, token),
        visit_start=starts_of(sizes),
        visit_day=np.insert(shard.visit_day, at_visit, np.asarray(day, shard.visit_day.dtype)),
        patient_start=(shard.patient_start + np.arange(len(shard.patient_start))).astype(shard.patient_start.dtype),
    )


def without_token(shard: Shard, token: NDArray[np.integer]) -> Shard:
    """Return the shard without one token per record (H,), and without visits that had no other token."""
    return shard.keep_tokens(shard.tokens != np.repeat(token, np.diff(shard.patient_tokens)))


def _key(patients: NDArray[np.integer], day: NDArray[np.integer]) -> NDArray[np.int64]:
    """Pack patient and day into numbers (n,) that sort by patient, then day."""
    return (patients.astype(np.int64) << _PATIENT) + day.astype(np.int64) + _OFFSET
