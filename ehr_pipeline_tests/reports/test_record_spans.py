"""Days of the year on which far more is recorded than on others."""

from dataclasses import replace

import numpy as np
import pytest

from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.reports.record_spans import Spans, count_by_day
from ehr_pipeline.reports.statements.audit import day_that_stands_out


def recorded(days: list[str], concepts: int = 1) -> Shard:
    """One patient with a visit on each day, of so many concepts."""
    dates = np.array(days, "datetime64[D]").astype(np.int32)
    starts = np.arange(len(days) + 1, dtype=np.int32) * concepts
    none = np.zeros(1, np.int32)
    return Shard(np.zeros(starts[-1], np.int32), starts, dates, np.array([0, len(days)], np.int32), none, none > 0)


def test_days_of_the_year_are_counted_by_what_is_recorded() -> None:
    found = count_by_day(recorded(["1969-12-31", "2000-02-29", "2011-01-01", "2012-01-01"], concepts=3))
    assert {int(day): int(found[day]) for day in np.flatnonzero(found)} == {1231: 3, 229: 3, 101: 6}


def test_a_practice_that_dates_everything_on_1_january_is_told() -> None:
    """One of twelve practices did, and neither the checks nor the page said so."""
    usual = np.datetime64("2001-01-01") + np.arange(3650)
    by_day = count_by_day(recorded([str(day) for day in usual]))
    spans = Spans(np.zeros(1, int), np.zeros(1, int), np.zeros(1, bool), by_day)
    assert spans.day_that_stands_out() is None
    assert Spans(*[np.zeros(0, int)] * 2, np.zeros(0, bool), np.zeros(1300, int)).day_that_stands_out() is None
    by_day[101] += 300
    name, share = replace(spans, by_day=by_day).day_that_stands_out() or ("", 0.0)
    assert (name, share) == ("1 January", pytest.approx(310 / 3950))
    assert str(day_that_stands_out((name, share))).startswith(
        "8 % of the records of these patients are dated 1 January;"
    )
    assert day_that_stands_out(None) is None
