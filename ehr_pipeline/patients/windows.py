"""Visits longer than a day, for records without visit ids: a visit includes all events within some days of its first day."""

import numpy as np

from ehr_pipeline.tables import row_keys


def merge_days(keys: row_keys.Keys, days: int) -> row_keys.Keys:
    """Move every event to the first day of its visit. Takes sorted distinct keys (n,), and returns sorted keys with duplicates.

    A visit begins on a patient's first day; the next visit begins on the first day more than `days` after that, and so on. Starts
    are found by jumping from each day to the first day after its window, by 1, 2, 4, … visits at a time.
    """
    if not days or not len(keys):
        return keys
    visit = row_keys.visits(keys)
    is_day = row_keys.starts(visit)
    day = visit[is_day]  # patient and day in one number, in order
    patient = day >> np.uint64(row_keys.DAY_BITS)
    last = (patient << np.uint64(row_keys.DAY_BITS)) | np.uint64(2**row_keys.DAY_BITS - 1)
    # The end of each window, capped at the last day of the calendar: beyond it are the first days of the next patient.
    jump = np.append(np.searchsorted(day, np.minimum(day + np.uint64(days), last), side="right"), len(day))
    begins = np.append(row_keys.starts(patient), False)
    while True:
        next_starts = jump[begins.nonzero()[0]]
        next_starts = next_starts[next_starts < len(day)]
        if begins[next_starts].all():
            break
        begins[next_starts] = True
        jump = jump[jump]
    place = np.flatnonzero(begins[:-1])
    first = day[place[np.cumsum(begins[:-1]) - 1]]
    moved = (first[np.cumsum(is_day) - 1] << np.uint64(row_keys.ITEM_BITS)) | (
        keys & np.uint64(2**row_keys.ITEM_BITS - 1)
    )
    return np.sort(moved)
