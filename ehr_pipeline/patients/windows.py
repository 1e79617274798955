"""Visits of more than a day: events within some days of a visit's first day join it, for records without links to visits."""

import numpy as np

from ehr_pipeline.tables import row_keys


def joined(keys: row_keys.Keys, days: int) -> row_keys.Keys:
    """Sorted distinct keys (n,) with the day of every event moved to the first day of its visit; sorted, repeats included.

    A visit begins on a patient's first day, and on each first day that is more than `days` after the beginning of the visit before.
    The beginnings are found by jumping from each day to the first one after its window, in jumps of 1, 2, 4, … visits at once.
    """
    if not days or not len(keys):
        return keys
    visit = row_keys.visits(keys)
    is_day = row_keys.starts(visit)
    day = visit[is_day]  # patient and day in one number, in order
    patient = day >> np.uint64(row_keys.DAY_BITS)
    last = (patient << np.uint64(row_keys.DAY_BITS)) | np.uint64(2**row_keys.DAY_BITS - 1)
    # Where the window ends: the end of the calendar is not left, which would be the next patient's first days.
    jump = np.append(np.searchsorted(day, np.minimum(day + np.uint64(days), last), side="right"), len(day))
    begins = np.append(row_keys.starts(patient), False)
    while True:
        reached = jump[begins.nonzero()[0]]
        reached = reached[reached < len(day)]
        if begins[reached].all():
            break
        begins[reached] = True
        jump = jump[jump]
    place = np.flatnonzero(begins[:-1])
    first = day[place[np.cumsum(begins[:-1]) - 1]]
    moved = (first[np.cumsum(is_day) - 1] << np.uint64(row_keys.ITEM_BITS)) | (
        keys & np.uint64(2**row_keys.ITEM_BITS - 1)
    )
    return np.sort(moved)
