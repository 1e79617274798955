"""When records begin and end, how old patients were at their first record of a disease, and which day of the year is too
frequent."""

import calendar
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard, ages_at

STANDS_OUT = 0.02
"""Share of all records from which a day of the year is reported as too frequent. A usual day has 1 in 365."""


@dataclass(frozen=True)
class Spans:
    """Spans of the records of patients (n,), in the cohort's order, in whole years; and days of the year with records."""

    followed: NDArray[np.int64]
    """From the first visit to the last."""
    onset: NDArray[np.int64]
    """Age at the first record of one of the cohort's diseases."""
    at_start: NDArray[np.bool_]
    """Whether that is on the first day of the patient's record, when it may be history that was entered at registration."""
    by_day: NDArray[np.int64]
    """Number of concepts recorded on each day of the year, at 100 times the month plus the day."""

    def day_that_stands_out(self) -> tuple[str, float] | None:
        """Return the day of the year with the most records, such as '1 January', and its share of all; None below `STANDS_OUT`."""
        day, total = int(self.by_day.argmax()), int(self.by_day.sum())
        if not total or self.by_day[day] < STANDS_OUT * total:
            return None
        return f"{day % 100} {calendar.month_name[day // 100]}", float(self.by_day[day] / total)


def spans(dataset: list[Path], cohort: Cohort) -> Spans:
    """Read the spans of the cohort's patients from the shards of the patient data set."""
    first: list[NDArray[np.int32]] = []
    last: list[NDArray[np.int32]] = []
    birth: list[NDArray[np.int32]] = []
    only_year: list[NDArray[np.bool_]] = []
    by_day = np.zeros(1300, np.int64)
    for path in dataset:
        shard, rows = Shard.read(path), cohort.rows(path.name)
        first.append(shard.visit_day[shard.patient_start[rows]])
        last.append(shard.visit_day[shard.patient_start[rows + 1] - 1])
        birth.append(shard.birth_day[rows])
        only_year.append(shard.birth_year_only[rows])
        by_day += count_by_day(shard.take(rows))
    back = np.argsort(cohort.order)
    begun = np.concatenate(first)[back]
    days = np.concatenate(last)[back] - begun
    onset = cohort.table.column("first_date").cast(pa.int32()).to_numpy()
    ages = ages_at(onset, np.concatenate(birth)[back], np.concatenate(only_year)[back], "year")
    return Spans((days / DAYS_IN_YEAR).astype(np.int64), ages, onset <= begun, by_day)


def count_by_day(shard: Shard) -> NDArray[np.int64]:
    """Return the number of concepts on each day of the year, at index 100 * month + day (1300,)."""
    days = shard.visit_day.astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    day = 100 * (months.astype(np.int64) % 12 + 1) + (days - months).astype(np.int64) + 1
    return np.bincount(day, np.diff(shard.visit_start), minlength=1300).astype(np.int64)
