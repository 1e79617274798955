"""A patient's visits, so that a mechanism can record something at some of them without adding any; and groups of its making."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.worlds.block import BLOCK, Block, Events
from ehr_pipeline.synthetic.worlds.population import NOBODY

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Visits:
    """Days on which something is recorded: one row a patient and day, (visits,) each, by patient and day."""

    person: Numbers
    day: Numbers

    @classmethod
    def of(cls, block: Block) -> "Visits":
        """The visits that the mechanisms before have made."""
        events = Events.joined(block.parts)
        events = events.where(block.registered(events.person, events.day))
        key = np.unique(events.person.astype(np.int64) * 2**20 + events.day + 2**18)
        return cls(key >> 20, (key & (2**20 - 1)) - 2**18)

    @cached_property
    def counts(self) -> Numbers:
        """Visits of each patient (BLOCK,)."""
        return np.bincount(self.person, minlength=BLOCK)

    @cached_property
    def first(self) -> Numbers:
        """The row of each patient's first visit (BLOCK,)."""
        return np.cumsum(self.counts) - self.counts

    @cached_property
    def rank(self) -> Numbers:
        """How many visits of the same patient come before each (visits,)."""
        return np.arange(len(self.person)) - self.first[self.person]

    @cached_property
    def quarter(self) -> Numbers:
        """In which quarter of the time between the patient's first and last visit each lies: 0 to 3 (visits,)."""
        begin = self.day[np.minimum(self.first, len(self.day) - 1)]
        last = self.day[np.maximum(self.first + self.counts - 1, 0)]
        share = (self.day - begin[self.person]) / np.maximum(last - begin, 1)[self.person]
        quarters: Numbers = np.minimum(np.floor(4 * share), 3).astype(np.int64)
        return quarters

    def pick(self, rng: np.random.Generator, wanted: NDArray[np.integer], allowed: Mask | None = None) -> Numbers:
        """Rows of different visits: `wanted` (BLOCK,) at random of each patient, or all where fewer are `allowed` (visits,)."""
        here = wanted[self.person] > 0
        rows = np.flatnonzero(here if allowed is None else here & allowed)
        rows = rows[np.lexsort((rng.random(len(rows)), self.person[rows]))]
        person = self.person[rows]
        rank = np.arange(len(rows)) - np.searchsorted(person, person, side="left")
        picked: Numbers = rows[rank < wanted[person]]
        return picked

    def following(self, begin: Floats, wanted: int, who: Mask) -> Numbers:
        """Rows of `wanted` visits that follow each other, from the first on or after a day (BLOCK,) on, or the last ones.

        For some patients only (BLOCK,), all of whom have as many visits.
        """
        before = np.bincount(self.person, self.day < begin[self.person], minlength=BLOCK).astype(np.int64)
        at = self.first + np.minimum(before, self.counts - wanted)
        rows: Numbers = (at[who][:, None] + np.arange(wanted)).ravel()
        return rows

    def pairs(self, rng: np.random.Generator, wanted: NDArray[np.integer]) -> Numbers:
        """Rows of visits that another one follows in the same quarter of the record; no two pairs share a visit.

        `wanted` (BLOCK,) at random of each patient, or all where there are fewer.
        """
        offset = rng.integers(0, 2, BLOCK)[self.person]
        last = self.rank == self.counts[self.person] - 1
        same = np.append(self.quarter[1:] == self.quarter[:-1], False)
        return self.pick(rng, wanted, (self.rank % 2 == offset) & ~last & same)

    def record(self, block: Block, rows: Numbers, code: "np.integer | Numbers") -> None:
        """Add an event at some visits: one code, or one for each (rows,)."""
        block.record(self.person[rows], self.day[rows], np.broadcast_to(code, len(rows)))


def label(block: Block, group: Numbers, names: list[str]) -> None:
    """Write groups into the truth of the patients: the index of a name, or NOBODY (BLOCK,)."""
    block.people |= {"group": group, "second_group": np.full(BLOCK, NOBODY)}
    labels = pl.Series(np.array([*names, ""])[group])
    block.truth["patients"] = block.truth["patients"].with_columns(group=labels, second_group=pl.lit(""))
