"""Visits of several days, against the rule as it would be done by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ehr_pipeline.patients import windows
from ehr_pipeline.tables import row_keys

Events = list[tuple[int, int, int]]  # patient, day, token


def by_hand(events: Events, days: int) -> Events:
    """One event after the other, in order of patient and day."""
    moved, visit = [], (-1, 0)
    for patient, day, token in sorted(events):
        if patient != visit[0] or day > visit[1] + days:
            visit = (patient, day)
        moved.append((patient, visit[1], token))
    return sorted(moved)


def packed(events: Events) -> row_keys.Keys:
    columns = np.array(sorted(set(events)), np.int64).reshape(-1, 3).T
    return np.sort(row_keys.pack(*columns))


def unpacked(keys: row_keys.Keys) -> Events:
    return list(zip(*(part(keys).tolist() for part in (row_keys.patients, row_keys.days, row_keys.items)), strict=True))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 60), st.integers(0, 2)), max_size=60),
    st.integers(0, 40),
)
def test_windows_are_those_made_by_hand(events: Events, days: int) -> None:
    keys = windows.merge_days(packed(events), days)
    assert unpacked(keys) == by_hand(list(set(events)), days)


def test_many_visits_one_after_the_other() -> None:
    events = [(patient, day, 0) for patient in range(3) for day in range(0, 5000, patient + 1)]
    assert unpacked(windows.merge_days(packed(events), 6)) == by_hand(events, 6)


@pytest.mark.parametrize("days", [1, 366])
def test_the_last_days_of_the_calendar_do_not_reach_the_next_patient(days: int) -> None:
    events = [(0, row_keys.LAST_DAY, 1), (1, row_keys.FIRST_DAY, 1), (1, row_keys.FIRST_DAY + 1, 2)]
    assert unpacked(windows.merge_days(packed(events), days)) == by_hand(events, days)
