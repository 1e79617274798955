"""Rows of (patient, day, item) as single 64-bit keys, so that sorting a shard is one sort of integers."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.tables.compiled_loops import compiled

ITEM_BITS, DAY_BITS, PATIENT_BITS = 23, 18, 23
DIGIT_BITS = 10
"""Bits by which `sort` divides keys at once: with more, the counts leave the processor's nearest cache."""
KEYS_AT_ONCE = 1 << 12
"""Keys that `sort_within_visits` sorts at once."""
FIRST_DAY = -62_091  # 1800-01-01 in days from 1970-01-01; 18 bits reach to the year 2517
LAST_DAY = FIRST_DAY + 2**DAY_BITS - 1

Keys = NDArray[np.uint64]


def pack(patient: NDArray[np.integer], day: NDArray[np.integer], item: NDArray[np.integer]) -> Keys:
    """Return keys (n,) that sort by patient, then day, then item.

    `patient` and `item` are indices into sorted tables of a shard, `day` is in days from 1970-01-01.
    """
    _refuse_too_large(patient, day, item)
    keys = patient.astype(np.int64)  # in place from here on: another 64-bit array costs as much as the additions
    keys <<= DAY_BITS
    keys += day
    keys -= FIRST_DAY
    keys <<= ITEM_BITS
    keys |= item
    return keys.view(np.uint64)


def translated(
    patient: NDArray[np.int32], day: NDArray[np.int32], item: NDArray[np.integer], of_item: NDArray[np.integer]
) -> Keys:
    """Return the keys of rows (n,) with each item replaced by `of_item[item]`; rows whose replacement is -1 are dropped."""
    _refuse_too_large(patient, day, of_item)
    keys = np.empty(len(patient), np.uint64)
    return keys[: _translated(patient, day, item, of_item, keys)]


def _refuse_too_large(patient: NDArray[np.integer], day: NDArray[np.integer], items: NDArray[np.integer]) -> None:
    assert not len(patient) or patient.max() < 2**PATIENT_BITS
    assert not len(day) or (day.min() >= FIRST_DAY and day.max() <= LAST_DAY)
    assert not len(items) or items.max() < 2**ITEM_BITS


@compiled
def _translated(
    patient: NDArray[np.int32],
    day: NDArray[np.int32],
    item: NDArray[np.integer],
    of_item: NDArray[np.integer],
    keys: Keys,
) -> int:
    """Write the key of each row (n,) to `keys`, skipping rows whose item has no replacement. Returns the number of keys written."""
    count = 0
    for row in range(len(patient)):
        other = np.int64(of_item[item[row]])
        visit = (np.int64(patient[row]) << DAY_BITS) + (np.int64(day[row]) - FIRST_DAY)
        keys[count] = (visit << ITEM_BITS) | (
            other & (2**ITEM_BITS - 1)
        )  # without a replacement, the next row comes here
        if other >= 0:
            count += 1
    return count


def sorted_keys(keys: Keys) -> Keys:
    """Return keys (n,) sorted; the given array is overwritten.

    This sorts by one digit after the other, the lowest first (Knuth, volume 3, section 5.2.5), without digits that are the same
    in all keys. A bucket has so few patients, days and items that this takes a quarter to a third of numpy's time.
    """
    differ = int(np.bitwise_or.reduce(keys) ^ np.bitwise_and.reduce(keys)) if len(keys) else 0
    other, counts, shift = np.empty_like(keys), np.empty(2**DIGIT_BITS, np.int64), 0
    while differ >> shift:
        if differ >> shift & 1:
            _by_digit(keys, np.uint64(shift), counts, other)
            keys, other, shift = other, keys, shift + DIGIT_BITS
        else:
            shift += 1
    return keys


@compiled
def _by_digit(keys: Keys, shift: np.uint64, place: NDArray[np.int64], other: Keys) -> None:
    """Write keys (n,) to `other` in order of the digit at `shift`, keeping the order of equal ones. `place` is working memory."""
    last = np.uint64(len(place) - 1)
    for digit in range(len(place)):
        place[digit] = 0
    for key in keys:
        place[(key >> shift) & last] += 1
    begin = 0
    for digit in range(len(place)):  # where the next key of each digit goes
        place[digit], begin = begin, begin + place[digit]
    for key in keys:
        digit = (key >> shift) & last
        other[place[digit]] = key
        place[digit] += 1


def sort_within_visits(keys: Keys) -> Keys:
    """Return keys (n,) sorted; their visits are in order already. The given array is overwritten.

    This takes half the time of `sort`: some thousand keys at a time are sorted by the two digits of their items and put back into
    their visits, within the processor's nearest caches.
    """
    differ = int(np.bitwise_or.reduce(keys) ^ np.bitwise_and.reduce(keys)) & (2**ITEM_BITS - 1) if len(keys) else 0
    digit = (differ.bit_length() + 1) // 2
    first_of_visit = visits(keys[KEYS_AT_ONCE::KEYS_AT_ONCE]) << np.uint64(ITEM_BITS)
    ends = np.append(np.unique(np.searchsorted(keys, first_of_visit)), len(keys))
    room = int(np.diff(ends, prepend=0).max())
    _within_visits(keys, ends, digit, np.empty((2, 2**digit), np.int64), np.empty((4, room), np.int64))
    return keys


@compiled
def _within_visits(
    keys: Keys, ends: NDArray[np.int64], digit: int, counts: NDArray[np.int64], work: NDArray[np.int64]
) -> None:
    """Sort the items of each visit. The visits up to each of the `ends` are taken together.

    `digit` is half the number of bits of items. Working memory: `counts` of both digits; and in the rows of `work`, twice the keys
    taken together, each with the number of its visit instead of it, and the visit of each number and where its next key goes.
    """
    begin, last, item = 0, counts.shape[1] - 1, 2**ITEM_BITS - 1
    for end in ends:
        for value in range(last + 1):
            counts[0, value] = counts[1, value] = 0
        number, before = -1, np.int64(0)
        for row in range(begin, end):
            key = np.int64(keys[row])
            if row == begin or key >> ITEM_BITS != before:
                number, before = number + 1, key >> ITEM_BITS
                work[2, number], work[3, number] = before, row
            key = (number << ITEM_BITS) | (key & item)
            work[1, row - begin] = key
            counts[0, key & last] += 1
            counts[1, key >> digit & last] += 1
        for which in range(2):
            place = 0
            for value in range(last + 1):  # where the next key of each digit goes
                counts[which, value], place = place, place + counts[which, value]
            for row in range(end - begin):
                key = work[1 - which, row]
                value = key >> (which * digit) & last
                work[which, counts[which, value]] = key
                counts[which, value] += 1
        for row in range(end - begin):
            key = work[1, row]
            visit = key >> ITEM_BITS
            keys[work[3, visit]] = (work[2, visit] << ITEM_BITS) | (key & item)
            work[3, visit] += 1
        begin = end


def patients(keys: Keys) -> NDArray[np.int32]:
    """Return the patient indices of keys."""
    return (keys >> np.uint64(DAY_BITS + ITEM_BITS)).astype(np.int32)


def days(keys: Keys) -> NDArray[np.int32]:
    """Return the days of keys, counted from 1970-01-01."""
    return ((keys >> np.uint64(ITEM_BITS)) & np.uint64(2**DAY_BITS - 1)).astype(np.int32) + np.int32(FIRST_DAY)


def items(keys: Keys) -> NDArray[np.int32]:
    """Return the item indices of keys."""
    item = keys.astype(np.uint32)
    item &= np.uint32(2**ITEM_BITS - 1)
    return item.view(np.int32)


def visits(keys: Keys) -> Keys:
    """Return the part of keys that identifies the patient and the day, and so the visit."""
    return keys >> np.uint64(ITEM_BITS)


def starts(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Return flags for the places where a new value begins in a sorted array."""
    first = np.ones(len(values), bool)
    first[1:] = values[1:] != values[:-1]
    return first


def distinct(keys: Keys) -> Keys:
    """Return sorted keys without repeats. The given array is overwritten."""
    return keys[: _distinct(keys)]


@compiled
def _distinct(keys: Keys) -> int:
    """Move the last of equal keys (n,) to the front, in order. Returns their number."""
    count, last = 0, len(keys) - 1
    for row in range(len(keys)):
        keys[count] = keys[row]  # if the next one is equal, it comes here
        if row == last or keys[row] != keys[row + 1]:
            count += 1
    return count


def visit_starts(keys: Keys) -> NDArray[np.int64]:
    """Return where each visit begins in sorted keys."""
    begins = np.empty(len(keys), np.int64)
    return begins[: _visit_starts(keys, begins)]


@compiled
def _visit_starts(keys: Keys, begins: NDArray[np.int64]) -> int:
    """Write where each visit begins in keys (n,) to `begins`. Returns the number of visits."""
    count = 0
    for row in range(len(keys)):
        begins[count] = row
        if not row or keys[row] >> np.uint64(ITEM_BITS) != keys[row - 1] >> np.uint64(ITEM_BITS):
            count += 1
    return count


def keep_visits(keys: Keys, begins: NDArray[np.int64], stays: NDArray[np.bool_]) -> Keys:
    """Return the sorted keys of the visits (m,) flagged in `stays`, which begin at `begins`. The given array is overwritten."""
    return keys[: _keep_visits(keys, np.append(begins, len(keys)), stays)]


@compiled
def _keep_visits(keys: Keys, bounds: NDArray[np.int64], stays: NDArray[np.bool_]) -> int:
    """Move the keys of flagged visits (m,), which lie between the `bounds` (m + 1,), to the front. Returns their number."""
    count = 0
    for visit in range(len(stays)):
        if stays[visit]:
            for row in range(bounds[visit], bounds[visit + 1]):
                keys[count] = keys[row]
                count += 1
    return count


def union(parts: list[Keys]) -> Keys:
    """Return all keys of several lists, sorted. A key is repeated as often as in the list that has it most often."""
    counted = [np.unique(part, return_counts=True) for part in parts]
    keys = np.concatenate([distinct for distinct, _ in counted])
    order = np.argsort(keys, kind="stable")
    keys, often = keys[order], np.concatenate([count for _, count in counted])[order]
    first = np.flatnonzero(starts(keys))
    return np.repeat(keys[first], np.maximum.reduceat(often, first)) if len(first) else keys


def to_table(
    keys: Keys, patient_ids: pa.Array, item_names: pa.Array, item_column: str, occurs: NDArray[np.bool_] | None = None
) -> pa.Table:
    """Convert keys to columns patient_id, date and `item_column`; dictionaries hold only values that occur, sorted.

    If `occurs` is given, the flags, false at first, of the items that occur are set there.
    """
    patient, day, item = parts = np.empty((3, len(keys)), np.int32)
    is_patient = np.zeros(len(patient_ids), np.bool_)
    is_item = np.zeros(len(item_names), np.bool_) if occurs is None else occurs
    _unpack(keys, parts, is_patient, is_item)
    columns = {
        "patient_id": _dictionary(patient, is_patient, patient_ids),
        "date": pa.array(day).cast(pa.date32()),
        item_column: _dictionary(item, is_item, item_names),
    }
    return pa.table(columns)


@compiled
def _unpack(keys: Keys, parts: NDArray[np.int32], is_patient: NDArray[np.bool_], is_item: NDArray[np.bool_]) -> None:
    """Fill in patient, day and item (3, n) of each key. Also set the flags, false at first, of the patients and items that
    occur."""
    for row in range(len(keys)):
        key = np.int64(keys[row])
        patient, item = key >> (DAY_BITS + ITEM_BITS), key & (2**ITEM_BITS - 1)
        parts[0, row], parts[1, row], parts[2, row] = (
            patient,
            ((key >> ITEM_BITS) & (2**DAY_BITS - 1)) + FIRST_DAY,
            item,
        )
        is_patient[patient] = True
        is_item[item] = True


@compiled
def _renumber(indices: NDArray[np.int32], place: NDArray[np.int32]) -> None:
    """Replace each index i by `place[i]`, in the array itself."""
    for row in range(len(indices)):
        indices[row] = place[indices[row]]


def _dictionary(indices: NDArray[np.int32], occurs: NDArray[np.bool_], names: pa.Array) -> pa.DictionaryArray:
    """Return the indices (n,) into sorted names as a dictionary array that holds only the names that occur. Changes `indices`."""
    if not occurs.all():
        _renumber(indices, np.cumsum(occurs, dtype=np.int32) - np.int32(1))
    return pa.DictionaryArray.from_arrays(indices, names.filter(pa.array(occurs)).cast(pa.string()), safe=False)


def from_table(
    table: pa.Table, item_column: str
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], pa.Array, pa.Array]:
    """Return the columns of a shard as (patient index, day, item index, patient ids, item names)."""
    patient = table.column("patient_id").combine_chunks()
    item = table.column(item_column).combine_chunks()
    day = table.column("date").cast(pa.int32()).to_numpy()
    return patient.indices.to_numpy(), day, item.indices.to_numpy(), patient.dictionary, item.dictionary
