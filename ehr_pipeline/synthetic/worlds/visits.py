"""Patients' visits, at which a mechanism can record events without adding visits; and the labels of its groups."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.synthetic.worlds.mechanism import BLOCK, Block, Events
from ehr_pipeline.synthetic.worlds.population import NOBODY

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Visits:
    """Days on which something is recorded: one row for each patient and day, sorted by both; each array (visits,)."""

    person: Numbers
    day: Numbers

    @classmethod
    def of(cls, block: Block) -> "Visits":
        """Return the visits of the events that earlier mechanisms recorded."""
        events = Events.joined(block.parts)
        events = events.where(block.registered(events.person, events.day))
        key = np.unique(events.person.astype(np.int64) * 2**20 + events.day + 2**18)
        return cls(key >> 20, (key & (2**20 - 1)) - 2**18)

    @cached_property
    def counts(self) -> Numbers:
        """Number of visits of each patient (BLOCK,)."""
        return np.bincount(self.person, minlength=BLOCK)

    @cached_property
    def first(self) -> Numbers:
        """The row of each patient's first visit (BLOCK,)."""
        return np.cumsum(self.counts) - self.counts

    @cached_property
    def rank(self) -> Numbers:
        """Number of earlier visits of the same patient (visits,)."""
        return np.arange(len(self.person)) - self.first[self.person]

    @cached_property
    def quarter(self) -> Numbers:
        """Quarter of the time between the patient's first and last visit in which each visit lies: 0 to 3 (visits,)."""
        begin = self.day[np.minimum(self.first, len(self.day) - 1)]
        last = self.day[np.maximum(self.first + self.counts - 1, 0)]
        share = (self.day - begin[self.person]) / np.maximum(last - begin, 1)[self.person]
        quarters: Numbers = np.minimum(np.floor(4 * share), 3).astype(np.int64)
        return quarters

    def pick(self, rng: np.random.Generator, wanted: NDArray[np.integer], allowed: Mask | None = None) -> Numbers:
        """Return rows of `wanted` (BLOCK,) random visits of each patient, without repeats, from those that are `allowed` (visits,).

        If fewer visits are allowed than wanted, all of these are taken.
        """
        here = wanted[self.person] > 0
        rows = np.flatnonzero(here if allowed is None else here & allowed)
        rows = rows[np.lexsort((rng.random(len(rows)), self.person[rows]))]
        person = self.person[rows]
        rank = np.arange(len(rows)) - np.searchsorted(person, person, side="left")
        return rows[rank < wanted[person]]

    def following(self, begin: Floats, wanted: int, who: Mask) -> Numbers:
        """Return rows of `wanted` consecutive visits of each patient, beginning with the first on or after day `begin` (BLOCK,).

        If too few visits follow, the patient's last ones are taken. Only patients in `who` (BLOCK,) are included; each must have
        `wanted` visits or more.
        """
        before = np.bincount(self.person, self.day < begin[self.person], minlength=BLOCK).astype(np.int64)
        at = self.first + np.minimum(before, self.counts - wanted)
        return (at[who][:, None] + np.arange(wanted)).ravel()

    def pairs(self, rng: np.random.Generator, wanted: NDArray[np.integer]) -> Numbers:
        """Return rows of the first visits of `wanted` (BLOCK,) random pairs of each patient, or of all pairs if there are fewer.

        A pair is two consecutive visits in the same quarter of the record. No two pairs share a visit.
        """
        offset = rng.integers(0, 2, BLOCK)[self.person]
        last = self.rank == self.counts[self.person] - 1
        same = np.append(self.quarter[1:] == self.quarter[:-1], False)
        return self.pick(rng, wanted, (self.rank % 2 == offset) & ~last & same)

    def record(self, block: Block, rows: Numbers, code: "np.integer | Numbers") -> None:
        """Add an event at the visits `rows`. `code` is one code for all of them, or one for each (rows,)."""
        block.record(self.person[rows], self.day[rows], np.broadcast_to(code, len(rows)))


def label(block: Block, group: Numbers, names: list[str]) -> None:
    """Write groups into the truth of the patients. `group` has indices into `names`, or NOBODY (BLOCK,)."""
    block.people |= {"group": group, "second_group": np.full(BLOCK, NOBODY)}
    labels = pl.Series(np.array([*names, ""])[group])
    block.truth["patients"] = block.truth["patients"].with_columns(group=labels, second_group=pl.lit(""))
