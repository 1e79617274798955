"""Divide a patient's record into windows of time. Each window is stored like a patient, so the same code embeds both."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard

Divided = Literal["record", "age", "calendar"]
CALENDAR_BEGINS = 1900


@dataclass(frozen=True)
class Division:
    """How records are divided into windows."""

    divided: Divided
    years: float
    """Length of a window, in years."""


@dataclass(frozen=True)
class Windows:
    """The windows of some patients that contain a visit, ordered by patient and time. Axis: W windows."""

    shard: Shard
    """A shard whose rows are windows."""
    owner: NDArray[np.int64]
    """Patient of each window (W,), as an index into the patients requested."""
    number: NDArray[np.int64]
    """Number of each window within its patient (W,). Windows without visits are counted too, but have no entry."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """All rows of the shard (W,)."""
        return np.arange(len(self.owner))


def split(shard: Shard, patients: NDArray[np.int64], divided: Divided, years: float) -> Windows:
    """Divide the records of some patients (rows of a shard, ascending) into windows, each `years` long.

    Windows are counted from the patient's first visit ('record'), from birth ('age'), or from 1900 ('calendar').
    """
    wanted = np.zeros(len(shard.birth_day), bool)
    wanted[patients] = True
    kept = shard.keep_visits(np.repeat(wanted, np.diff(shard.patient_start)))
    visits = np.diff(kept.patient_start)
    owner = np.repeat(np.arange(len(visits)), visits)
    number = np.floor(_years(kept, owner, divided) / years).astype(np.int64)
    begins = np.flatnonzero(np.diff(owner, prepend=-1) | np.diff(number, prepend=-1))
    row = owner[begins]
    windows = replace(
        kept,
        patient_start=np.append(begins, len(owner)).astype(kept.patient_start.dtype),
        birth_day=kept.birth_day[row],
        birth_year_only=kept.birth_year_only[row],
    )
    return Windows(windows, np.searchsorted(patients, row), number[begins])


def _years(shard: Shard, owner: NDArray[np.int64], divided: Divided) -> NDArray[np.float64]:
    """Return years (v,) from the windows' origin to each visit of the patients `owner` (v,). Calendar years start on 1 January."""
    day = shard.visit_day.astype(np.int64)
    if divided == "calendar":
        year = day.astype("datetime64[D]").astype("datetime64[Y]")
        within = (day - year.astype("datetime64[D]").astype(np.int64)) / 366
        return year.astype(np.int64) + 1970 - CALENDAR_BEGINS + within
    first = shard.visit_day[np.minimum(shard.patient_start[:-1], max(len(day) - 1, 0))] if len(day) else day
    origin = shard.birth_day if divided == "age" else first
    return (day - origin[owner]) / DAYS_IN_YEAR
