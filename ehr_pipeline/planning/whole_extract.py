"""What all rows of an extract show: when its data end, whether its dates are shifted, and how many codes it has."""

import datetime
from pathlib import Path
from typing import NamedTuple

import polars as pl

from ehr_pipeline.errors import UserError
from ehr_pipeline.planning import births, enough_data
from ehr_pipeline.records import check_first_rows, extract_files, files
from ehr_pipeline.records.dates import LAST_YEAR
from ehr_pipeline.study import settings

LARGEST = 1 << 28
"""Bytes of the largest extract whose rows are all read."""
LOOKED_INTO = 4
"""Most files of each kind whose first rows are read for shifted dates."""
SETTING = f'latest_date = "{LAST_YEAR}-12-31" # most dates are in the future, as de-identified dates can be: allow them'
GAP, STRAY = 90, 1000
"""Dates after a gap of more than GAP days, at most one in STRAY, are mistakes of typing, and not the end of the data."""


class ReadFromRows(NamedTuple):
    """What the rows of an extract show."""

    last: datetime.date | None = None
    """The last day of its events without stray dates; None if not all rows were read."""
    later: int = 0
    """Number of events with stray dates after that day."""
    codes: tuple[int, ...] = ()
    """How often each code appears, the most frequent first."""
    shifted: bool = False
    """Whether most first events are dated after the extract, as where each patient's dates are shifted."""
    no_births: str = ""
    """A message if no patient has a birth."""


def read(path: Path, folder: Path, today: datetime.date) -> ReadFromRows:
    """Read an extract by the settings file `path`. The result is empty if settings or files cannot be read: `check` says why."""
    shifted, no_births = False, ""
    try:
        study = settings.load(path)
        records = study.records
        tree, rules = extract_files.tree_of(folder, records), check_first_rows.rules(folder.name, records)
        seen = [
            check_first_rows.first_rows(file, kind, rules).sample
            for kind in records.kinds.events
            for file in files.find(tree, kind)[:LOOKED_INTO]
        ]
        future = sum(one.rows for sample in seen for one in sample.rejects if one.reason == "future_date")
        shifted = future > sum(sample.rows for sample in seen) / 2
        found = births.missing(records, [folder])
        no_births = found.message if found else ""
        held = enough_data.read(study, [folder], LARGEST)
    except (UserError, OSError, pl.exceptions.PolarsError):
        return ReadFromRows(shifted=shifted, no_births=no_births)
    if held is None or not held.events:
        return ReadFromRows(shifted=shifted, no_births=no_births)
    days = pl.concat(each["day"] for each in held.events).drop_nulls().sort()
    codes = held.count()[1]["len"].sort(descending=True).to_list()
    last = None if shifted else _last(days.filter(days <= today))
    return ReadFromRows(last, int((days > last).sum()) if last else 0, tuple(codes), shifted, no_births)


def _last(days: pl.Series) -> datetime.date | None:
    """Return the last of the sorted days, leaving out stray dates; None if there are none."""
    if days.is_empty():
        return None
    gaps = (days.diff().dt.total_days() > GAP).arg_true()
    ends = gaps.filter(gaps >= len(days) * (1 - 1 / STRAY))
    found = days[int(ends[0]) - 1] if len(ends) and ends[0] else days[-1]
    assert isinstance(found, datetime.date)
    return found
