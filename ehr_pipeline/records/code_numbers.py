"""Number distinct codes. Numeric codes, such as SNOMED's, become strings only once, in the sorted table."""

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.errors import UserError
from ehr_pipeline.tables import plain_numbers
from ehr_pipeline.tables.compiled_loops import compiled
from ehr_pipeline.tables.row_keys import ITEM_BITS

MIN_SLOTS = 1 << 12


class Places:
    """The positions of known numbers (m,), of which the usable ones are distinct."""

    def __init__(self, known: NDArray[np.int64], usable: NDArray[np.bool_]):
        self._number_of = np.append(np.int64(0), known)
        self._slots = np.zeros(1 << (4 * len(known)).bit_length(), np.uint32)
        _insert(1 + np.flatnonzero(usable).astype(np.uint32), self._slots, self._number_of)

    def of(self, numbers: NDArray[np.int64]) -> NDArray[np.int32]:
        """Return the position (n,) of each number (n,), or -1."""
        place = np.empty(len(numbers), np.int32)
        _look_up(numbers, self._slots, self._number_of, place)
        return place


class CodeNumbers:
    """Numbers for distinct codes, from 1 in order of first appearance. A prefix names the code system; SNOMED has none."""

    def __init__(self) -> None:
        self._plain: dict[str, _Numbers] = {}
        self._texts: dict[str, int] = {}
        self._count = 1

    def from_numbers(self, codes: NDArray[np.int64], prefix: str = "") -> NDArray[np.uint32]:
        """Return the numbers (n,) of codes (n,) that are plain positive numbers."""
        numbers, count = self._plain.setdefault(prefix, _Numbers()).find(codes, self._count)
        self._set_count(count)
        return numbers

    def from_texts(self, codes: pl.Series, prefix: str = "") -> NDArray[np.uint32]:
        """Return the numbers (n,) of codes (n,) given as text, each with its prefix."""
        number, is_plain = plain_numbers.numbers(codes.str.slice(len(prefix)))
        result = np.empty(len(codes), np.uint32)
        result[is_plain] = self.from_numbers(number[is_plain], prefix)
        if not is_plain.all():
            texts = (
                codes.filter(pl.Series(~is_plain)).to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
            )
            for text in texts.dictionary.to_pylist():
                if text not in self._texts:
                    self._texts[text] = self._count
                    self._set_count(self._count + 1)
            known = np.array([self._texts[text] for text in texts.dictionary.to_pylist()], np.uint32)
            result[~is_plain] = known[texts.indices.to_numpy()]
        return result

    def sorted_table(self) -> pa.Table:
        """Return the distinct codes, sorted (`code`). Row i of `rank` is the position of the code with number i + 1."""
        texts = [pa.array(self._texts, pa.string())]
        numbers = [np.fromiter(self._texts.values(), np.uint32, len(self._texts))]
        for prefix, known in self._plain.items():
            used = np.flatnonzero(known.code_of).astype(np.uint32)
            texts.append((prefix + pl.Series(known.code_of[used]).cast(pl.String)).to_arrow().cast(pa.string()))
            numbers.append(used)
        text, number = pa.concat_arrays(texts), np.concatenate(numbers)
        order = pc.sort_indices(text)
        rank = np.empty(len(text), np.int32)
        rank[number[order.to_numpy()] - 1] = np.arange(len(text), dtype=np.int32)
        return pa.table({"code": text.take(order), "rank": pa.array(rank)})

    def _set_count(self, count: int) -> None:
        if count > 2**ITEM_BITS:
            raise UserError(
                f"The events have more than {2**ITEM_BITS:,} different codes."
                " Check the column of the code (records.events.columns.code)."
            )
        self._count = count


class _Numbers:
    """Numeric codes, in a hash table that grows with their number, so it stays in the processor's cache."""

    def __init__(self) -> None:
        self.code_of = np.zeros(MIN_SLOTS, np.int64)
        """The code of each number; 0 if the number belongs to a code of another list, or to no code yet."""
        self._slots = np.zeros(MIN_SLOTS, np.uint32)
        self._known = 0

    def find(self, codes: NDArray[np.int64], count: int) -> tuple[NDArray[np.uint32], int]:
        """Return the numbers (n,) of codes (n,), and the next free number. New codes get numbers from `count` on."""
        numbers, done = np.empty(len(codes), np.uint32), 0
        while done < len(codes):
            if 2 * self._known >= len(self._slots):
                self._grow()
            room = len(self._slots) // 2 - self._known
            self._reserve(count + room)
            next_free = np.array([count, count + room])
            done += _number(codes[done:], next_free, self._slots, self.code_of, numbers[done:])
            self._known += int(next_free[0]) - count
            count = int(next_free[0])
        return numbers, count

    def _reserve(self, count: int) -> None:
        """Make room for the codes of all numbers below `count`."""
        if len(self.code_of) < count:
            self.code_of = np.concatenate([self.code_of, np.zeros(max(len(self.code_of), count), np.int64)])

    def _grow(self) -> None:
        """Quadruple the slots. At most half of them are ever in use, so a free one is always near."""
        self._slots = np.zeros(4 * len(self._slots), np.uint32)
        _insert(np.flatnonzero(self.code_of).astype(np.uint32), self._slots, self.code_of)


@compiled
def _number(
    codes: NDArray[np.int64],
    free: NDArray[np.int64],
    slots: NDArray[np.uint32],
    code_of: NDArray[np.int64],
    numbers: NDArray[np.uint32],
) -> int:
    """Write the number of each code (n,) to `numbers` (n,) until the free numbers are used up. Returns how many codes were
    numbered.

    `free` has the first free number, and the number after the last; each new code gets the next one. The search for a code starts
    at the slot given by its hash: multiplicative hashing (Knuth, volume 3, section 6.4).
    """
    following, last = free[0], len(slots) - 1
    for place in range(len(codes)):
        code = codes[place]
        slot = np.int64((np.uint64(code) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & last
        while slots[slot] and code_of[slots[slot]] != code:
            slot = (slot + 1) & last
        if not slots[slot]:
            if following == free[1]:
                free[0] = following
                return place
            slots[slot] = following
            code_of[following] = code
            following += 1
        numbers[place] = slots[slot]
    free[0] = following
    return len(codes)


@compiled
def _insert(numbers: NDArray[np.uint32], slots: NDArray[np.uint32], code_of: NDArray[np.int64]) -> None:
    """Put known numbers (n,) into empty slots, where `_number` will find them."""
    last = len(slots) - 1
    for number in numbers:
        slot = np.int64((np.uint64(code_of[number]) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & last
        while slots[slot]:
            slot = (slot + 1) & last
        slots[slot] = number


@compiled
def _look_up(
    numbers: NDArray[np.int64], slots: NDArray[np.uint32], number_of: NDArray[np.int64], place: NDArray[np.int32]
) -> None:
    """Write the place of each number (both n,): the value of its slot minus one, so -1 if it has none."""
    last = len(slots) - 1
    for row in range(len(numbers)):
        slot = np.int64((np.uint64(numbers[row]) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) & last
        while slots[slot] and number_of[slots[slot]] != numbers[row]:
            slot = (slot + 1) & last
        place[row] = np.int64(slots[slot]) - 1
