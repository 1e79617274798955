"""Numbers for distinct codes. Codes that are plain numbers, as SNOMED codes are, never become strings on the way."""

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline import plain
from ehr_pipeline.errors import UserError
from ehr_pipeline.rows import ITEM_BITS, starts

SLOT_BITS = 20  # 4 MB of slots stay in the cache of a core


class Interned:
    """Numbers from 1 on for distinct codes, in order of their first appearance. A prefix names the code system; SNOMED has none."""

    def __init__(self) -> None:
        self._plain: dict[str, _Numbers] = {}
        self._texts: dict[str, int] = {}
        self._count = 1

    def of_numbers(self, codes: NDArray[np.int64], prefix: str = "") -> NDArray[np.uint32]:
        """The numbers (n,) of codes (n,) that are plain positive numbers."""
        known = self._plain.setdefault(prefix, _Numbers())
        found, unknown = known.look_up(codes)
        if len(unknown):
            new = known.missing(codes[unknown])
            known.add(new, self._next(len(new)))
            found[unknown] = known.search(codes[unknown])
        return found

    def of_texts(self, codes: pl.Series, prefix: str = "") -> NDArray[np.uint32]:
        """The numbers (n,) of codes (n,) as text, each with the prefix before it."""
        number, is_plain = plain.numbers(codes.str.slice(len(prefix)))
        result = np.empty(len(codes), np.uint32)
        result[is_plain] = self.of_numbers(number[is_plain], prefix)
        if not is_plain.all():
            texts = (
                codes.filter(pl.Series(~is_plain)).to_arrow(compat_level=pl.CompatLevel.oldest()).dictionary_encode()
            )
            for text in texts.dictionary.to_pylist():
                if text not in self._texts:
                    self._texts[text] = int(self._next(1)[0])
            known = np.array([self._texts[text] for text in texts.dictionary.to_pylist()], np.uint32)
            result[~is_plain] = known[texts.indices.to_numpy()]
        return result

    def sorted_table(self) -> pa.Table:
        """The distinct codes in order of their text (`code`), and by number less one the place of each there (`rank`)."""
        texts = [pa.array(self._texts, pa.string())]
        numbers = [np.fromiter(self._texts.values(), np.uint32, len(self._texts))]
        for prefix, known in self._plain.items():
            texts.append((prefix + pl.Series(known.codes).cast(pl.String)).to_arrow().cast(pa.string()))
            numbers.append(known.numbers)
        text, number = pa.concat_arrays(texts), np.concatenate(numbers)
        order = pc.sort_indices(text)
        rank = np.empty(len(text), np.int32)
        rank[number[order.to_numpy()] - 1] = np.arange(len(text), dtype=np.int32)
        return pa.table({"code": text.take(order), "rank": pa.array(rank)})

    def _next(self, count: int) -> NDArray[np.uint32]:
        first = self._count
        self._count += count
        if self._count > 2**ITEM_BITS:
            raise UserError(
                f"The events hold more than {2**ITEM_BITS:,} different codes."
                " The column of the code (records.events.columns.code) is perhaps another one."
            )
        return np.arange(first, self._count, dtype=np.uint32)


class _Numbers:
    """Codes that are plain numbers: sorted, and in a table by hash that finds nearly all of them in one step."""

    def __init__(self) -> None:
        self.codes, self.numbers = np.empty(0, np.int64), np.empty(0, np.uint32)
        self._slots = np.zeros(2**SLOT_BITS, np.uint32)
        self._code_of = np.zeros(1, np.int64)  # by number; no code is 0

    def look_up(self, codes: NDArray[np.int64]) -> tuple[NDArray[np.uint32], NDArray[np.intp]]:
        """The numbers (n,) of codes (n,), and where in them the slot held another code."""
        found = self._slots.take(_slot(codes))
        return found, np.flatnonzero(self._code_of.take(found) != codes)

    def missing(self, codes: NDArray[np.int64]) -> NDArray[np.int64]:
        """The distinct codes that have no number, sorted."""
        if len(self.codes):
            nearest = np.searchsorted(self.codes, codes).clip(max=len(self.codes) - 1)
            codes = codes[self.codes[nearest] != codes]
        codes = np.sort(codes)
        return codes[starts(codes)]

    def search(self, codes: NDArray[np.int64]) -> NDArray[np.uint32]:
        """The numbers (n,) of codes (n,) that have one."""
        return self.numbers[np.searchsorted(self.codes, codes)]

    def add(self, codes: NDArray[np.int64], numbers: NDArray[np.uint32]) -> None:
        """Give sorted codes (n,) numbers (n,). Later codes do not take a slot that is held: the frequent ones come first."""
        if not len(codes):
            return
        free = self._slots[_slot(codes)] == 0
        self._slots[_slot(codes[free])] = numbers[free]
        more = np.zeros(int(numbers.max()) + 1 - len(self._code_of), np.int64)
        self._code_of = np.concatenate([self._code_of, more])
        self._code_of[numbers] = codes
        places = np.searchsorted(self.codes, codes)
        self.codes, self.numbers = np.insert(self.codes, places, codes), np.insert(self.numbers, places, numbers)


def _slot(codes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Multiplicative hashing (Knuth, volume 3, section 6.4)."""
    hashed = (codes.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - SLOT_BITS)
    return hashed.view(np.int64)  # numpy looks up signed indices twice as fast
