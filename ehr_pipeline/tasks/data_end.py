"""Find the last day of the data: of all patients, and of groups, such as a practice or a hospital, whose data end earlier.

A group's data end earlier if it falls silent: after a day, nothing is recorded for longer than the group was ever silent before. Or
if the end of observation of all its patients is known, and the last of these is earlier. Axes: G groups, D days of the calendar.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.disclosure.figures import FEWEST
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.tables import row_keys, schemas

NEVER: int = row_keys.LAST_DAY
"""A day later than every record, for events that never happen."""
MOST_VISITS = 0.999
"""The data end where this share of visits have happened, so a few mistyped dates after the true end do not move it."""
FEWEST_IN_SILENCE, GAPS = 50, 100
"""Fewest patients of a group, and fewest days with a visit, to tell a silence from chance: it is compared with the longest of so
many gaps between such days."""
LONGER, SHORTEST = 2, 30
"""A silence is an end of the data if it is so many times as long as that gap, and of at least so many days. If visits come at
random, a gap exceeds twice the longest of 100 others in about one of 2,000 groups."""
MOST_GROUPS = 4096
"""Most groups of an attribute that are examined, the largest first. It limits memory."""


@dataclass(frozen=True)
class DataEnd:
    """The last day of the data. No prediction window may end after it."""

    last: int = NEVER
    groups: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By attribute, the last day of each group whose data end earlier."""

    def of(self, people: pa.Table) -> NDArray[np.int64]:
        """Return the last day (n,) of the data of each patient."""
        ends = np.full(people.num_rows, self.last, np.int64)
        for attribute, earlier in self.groups.items():
            own = [earlier.get(value, self.last) for value in people.column(attribute).to_pylist()]
            ends = np.minimum(ends, np.array(own, np.int64))
        return ends


def find(dataset: Sequence[Path], attributes: Iterable[str]) -> DataEnd:
    """Find the last day of the data in the shards of a patient data set, and that of the groups of its `attributes` of text; others
    are ignored."""
    groups = _groups(dataset, attributes)
    place = {group: number + 1 for number, group in enumerate(groups)}
    visits = np.zeros((1 + len(place), 1 << row_keys.DAY_BITS), np.int32)  # memory is used only for days with visits
    latest, unknown = np.full(len(visits), -NEVER, np.int64), np.zeros(len(visits), bool)
    for path in dataset:
        shard, people = Shard.read(path), schemas.read(path)
        day = shard.visit_day.astype(np.int64) - row_keys.FIRST_DAY
        visits[0] += np.bincount(day, minlength=visits.shape[1]).astype(np.int32)
        known = _known_ends(people)
        for attribute in {attribute for attribute, _ in place}:
            values = people.column(attribute).to_pylist()
            own = np.array([place.get((attribute, value), 0) for value in values], np.int64)
            by_visit = np.repeat(own, np.diff(shard.patient_start))
            here = by_visit > 0
            np.add.at(visits.reshape(-1), by_visit[here] * visits.shape[1] + day[here], 1)
            np.maximum.at(latest, own, np.where(known < NEVER, known, -NEVER))
            unknown[own[known == NEVER]] = True
    if not visits[0].any():
        return DataEnd()
    end = np.searchsorted(visits[0].cumsum(), MOST_VISITS * visits[0].sum()).item()
    last, earlier = end + row_keys.FIRST_DAY, dict[str, dict[str, int]]()
    for group, number in place.items():
        own_end: int = last
        if groups[group] >= FEWEST_IN_SILENCE:
            own_end = silent_after(visits[number, : end + 1]) + row_keys.FIRST_DAY
        if not unknown[number]:
            seen = int(np.flatnonzero(visits[number])[-1]) + row_keys.FIRST_DAY
            own_end = min(own_end, max(int(latest[number]), seen))
        if own_end < last:
            earlier.setdefault(group[0], {})[group[1]] = own_end
    return DataEnd(last, earlier)


def silent_after(visits: NDArray[np.int32]) -> int:
    """Return the day (index) after which a group falls silent, by its number of visits on each day (D,); else the last of all days.

    Of its visits, 0.1 % may be later: mistyped dates.
    """
    last, days = len(visits) - 1, np.flatnonzero(visits)
    if len(days) <= GAPS:
        return last
    gaps = np.diff(days, append=last)
    first = np.searchsorted(visits[days].cumsum(), MOST_VISITS * visits.sum()).item()
    for place in range(max(first, GAPS), len(days)):
        if gaps[place] >= max(SHORTEST, LONGER * gaps[place - GAPS : place].max()):
            return int(days[place])
    return last


def _groups(dataset: Sequence[Path], attributes: Iterable[str]) -> dict[tuple[str, str], int]:
    """Return the number of patients of the largest groups, by attribute and value."""
    found: dict[tuple[str, str], int] = {}
    for attribute in dict.fromkeys(attributes):
        patients = Counter[str]()
        for path in dataset:
            people = schemas.read(path)
            if attribute not in people.schema.names or people.schema.field(attribute).type != pa.string():
                break
            counted = pc.value_counts(people.column(attribute).drop_null())
            values, counts = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
            patients.update(dict(zip(values, counts, strict=True)))
        large = [(value, number) for value, number in patients.most_common(MOST_GROUPS) if number >= FEWEST]
        found |= {(attribute, value): number for value, number in large if value}
    return found


def _known_ends(people: pa.Table) -> NDArray[np.int64]:
    """Return the recorded last day of observation (n,), or that of death; NEVER if neither is known."""
    ends = np.full(people.num_rows, NEVER, np.int64)
    for name in (schemas.DEATH, schemas.OBSERVATION[1]):
        if name in people.schema.names:
            column = people.column(name).cast(pa.int32())
            days = column.fill_null(0).to_numpy().astype(np.int64)
            ends = np.where(column.is_valid().to_numpy(), days, ends)
    return ends
