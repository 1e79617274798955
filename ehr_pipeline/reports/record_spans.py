"""When the records of patients begin and end, and how old patients were at their first record of a disease."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.cohort.members import Cohort
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard, ages_at


@dataclass(frozen=True)
class Spans:
    """Whole years of patients (n,), in the cohort's order."""

    followed: NDArray[np.int64]
    """From the first visit to the last."""
    onset: NDArray[np.int64]
    """Age at the first record of one of the cohort's diseases."""
    at_start: NDArray[np.bool_]
    """Whether that record is of the first day of the patient's record, where it may be history that was entered at registration."""


def spans(dataset: list[Path], cohort: Cohort) -> Spans:
    """Read the spans of the cohort's patients from the shards of the patient data set."""
    first: list[NDArray[np.int32]] = []
    last: list[NDArray[np.int32]] = []
    birth: list[NDArray[np.int32]] = []
    only_year: list[NDArray[np.bool_]] = []
    for path in dataset:
        shard, rows = Shard.read(path), cohort.rows(path.name)
        first.append(shard.visit_day[shard.patient_start[rows]])
        last.append(shard.visit_day[shard.patient_start[rows + 1] - 1])
        birth.append(shard.birth_day[rows])
        only_year.append(shard.birth_year_only[rows])
    back = np.argsort(cohort.order)
    begun = np.concatenate(first)[back]
    days = np.concatenate(last)[back] - begun
    onset = cohort.table.column("first_date").cast(pa.int32()).to_numpy()
    ages = ages_at(onset, np.concatenate(birth)[back], np.concatenate(only_year)[back], "year")
    return Spans((days / DAYS_IN_YEAR).astype(np.int64), ages, onset <= begun)
