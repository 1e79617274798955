"""Draw cases: patients with a history that ends on a drawn visit, and the concepts that are recorded afterwards.

One visit of each patient is drawn, among those with enough visits before and at least one after. The history includes the drawn
visit, and the forecast is made at the end of that day. Axes: P cases, V token ids, n pairs of a case and a concept in its history.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.forecasts.settings import ForecastsSettings
from ehr_pipeline.patients.histories import ALWAYS, cut
from ehr_pipeline.patients.settings import TEST, TRAIN, VALIDATION
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.hashing import hash_of_column, hash_of_numbers

if TYPE_CHECKING:
    from scipy.sparse import csr_array

COUNT, TUNE, JUDGE = range(3)
SIDES = (TRAIN, VALIDATION, TEST)
"""Baselines are counted on the training set, weights fitted on the validation set, and forecasts evaluated on the test set."""
NEXT_VISIT, MONTH, YEAR = "next_visit", "30_days", "365_days"
HORIZONS = (NEXT_VISIT, MONTH, YEAR)
DAYS = {MONTH: 30, YEAR: 365}
OLDEST, BAND = 8, 10
STRATA = 2 * (OLDEST + 1)
_PLAIN = ("shard", "row", "side", "index", "next_day", "stratum")
_PAIRS = ("concept", "visits", "recent", "since", "first")
RECENT = 365
"""Days before the end of a history that count as recent."""


@dataclass(frozen=True)
class History:
    """The concepts in the history of each case, as pairs (n,) sorted by case, then concept."""

    start: NDArray[np.int64]
    """For each case, the index of its first pair; at the end, the number of pairs (P + 1,)."""
    concept: NDArray[np.int32]
    visits: NDArray[np.int32]
    """Number of visits with the concept, in the whole history; `recent` is that in its last RECENT days."""
    recent: NDArray[np.int32]
    since: NDArray[np.int32]
    """Days from the last visit with the concept to the end of the history; `first` is that from the first visit with it."""
    first: NDArray[np.int32]

    @property
    def owner(self) -> NDArray[np.int64]:
        """Return the case (n,) of each pair."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))

    def matrix(self, size: int) -> "csr_array":
        """Return flags (P, V): whether each case had each concept."""
        from scipy.sparse import csr_array

        return csr_array(
            (np.ones(len(self.concept), bool), self.concept, self.start), shape=(len(self.start) - 1, size)
        )

    def take(self, cases: NDArray[np.integer]) -> "History":
        """Return the pairs of some cases."""
        sizes = np.diff(self.start)[cases]
        start = np.concatenate([[0], np.cumsum(sizes)])
        pair = np.repeat(self.start[cases] - start[:-1], sizes) + np.arange(int(start[-1]))
        return History(start, *(getattr(self, name)[pair] for name in _PAIRS))


@dataclass(frozen=True)
class Cases:
    """All cases, with arrays of one value for each (P,)."""

    shard: NDArray[np.int32]
    """Index of the shard of the data set, in order of file names."""
    row: NDArray[np.int64]
    side: NDArray[np.int8]
    """Side of each case in the split: COUNT, TUNE or JUDGE."""
    index: NDArray[np.int64]
    """Last day of the history."""
    next_day: NDArray[np.int64]
    """Day of the next visit."""
    stratum: NDArray[np.int64]
    """Sex and age band, see `stratum`."""
    followed: dict[str, NDArray[np.bool_]]
    """By horizon: whether the patient was followed until the end of the horizon."""
    history: History
    targets: "dict[str, csr_array]"
    """By horizon: whether each concept is recorded within the horizon (P, V)."""

    def __len__(self) -> int:
        return len(self.row)

    def take(self, kept: NDArray[np.integer]) -> "Cases":
        """Return some of the cases."""
        arrays: dict[str, Any] = {name: getattr(self, name)[kept] for name in _PLAIN}
        return Cases(
            **arrays,
            followed={name: flags[kept] for name, flags in self.followed.items()},
            history=self.history.take(kept),
            targets={name: each[kept] for name, each in self.targets.items()},
        )

    def on(self, side: int, horizon: str) -> NDArray[np.int64]:
        """Return the cases on a side that were followed to the end of a horizon."""
        return np.flatnonzero((self.side == side) & self.followed[horizon])


@dataclass(frozen=True)
class DrawnPatients:
    """The drawn patients, shard by shard, and counts of those who were not drawn."""

    shards: tuple[tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int64]], ...]
    """For each shard: rows of the patients, their sides, and the number of the drawn visit in the patient's record."""
    counts: dict[str, int]
    """Counts of patients in the test set: rows_in, few_visits, not_drawn."""


def draw(dataset: Sequence[Path], split: Sequence[Path], settings: ForecastsSettings, seed: int) -> DrawnPatients:
    """Draw cases from all shards: patients by a hash of the id, and one visit of each patient by another hash.

    The choice of the visit does not depend on later visits, except that there must be one.
    """
    key = hash_of_numbers(np.array([seed, seed + (1 << 32)], np.uint64))
    found = [_eligible(path, sides, settings.min_visits, key) for path, sides in zip(dataset, split, strict=True)]
    most = (settings.counted_patients, settings.patients, settings.patients)
    limits, counts = [], {"rows_in": 0, "few_visits": 0, "not_drawn": 0}
    for side in range(len(SIDES)):
        ranks = np.sort(np.concatenate([rank[sides == side] for _, sides, _, rank, _ in found]))
        limits.append(
            ranks[most[side] - 1] if 0 < most[side] <= len(ranks) else np.uint64(2**64 - 1 if most[side] else 0)
        )
        if side == JUDGE:
            counts["rows_in"] = sum(number for *_, number in found)
            counts["few_visits"] = counts["rows_in"] - len(ranks)
            counts["not_drawn"] = max(len(ranks) - most[side], 0)
    shards = []
    for row, sides, place, rank, _ in found:
        kept = rank <= np.array(limits, np.uint64)[sides] if settings.patients else np.zeros(len(row), bool)
        shards.append((row[kept], sides[kept], place[kept]))
    return DrawnPatients(tuple(shards), counts)


def _eligible(
    path: Path, sides: Path, min_visits: int, key: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int64], NDArray[np.uint64], int]:
    """Return rows, sides, drawn visits and ranks of the patients with enough visits; and the number of test patients."""
    names = schemas.read(sides).column("side").to_numpy(zero_copy_only=False)
    side = np.select([names == name for name in SIDES], range(len(SIDES)), -1).astype(np.int8)
    visits = np.diff(Shard.read(path).patient_start)
    row = np.flatnonzero((side >= 0) & (visits > min_visits))
    ids = (
        hash_of_column(schemas.read(path, ["patient_id"]).column("patient_id").take(pa.array(row)))
        if len(row)
        else None
    )
    hashes = np.zeros(0, np.uint64) if ids is None else ids
    choices = (visits[row] - min_visits).astype(np.uint64)
    place = min_visits - 1 + (hash_of_numbers(hashes ^ key[0]) % choices).astype(np.int64)
    return row, side[row], place, hash_of_numbers(hashes ^ key[1]), int((side == JUDGE).sum())


def read(dataset: Sequence[Path], drawn: DrawnPatients, size: int) -> Cases:
    """Read the drawn cases, with only the concepts that the encoder knows: token ids below `size`."""
    parts = [
        _of_shard(number, path, shard, size)
        for number, (path, shard) in enumerate(zip(dataset, drawn.shards, strict=True))
    ]
    return joined(parts)


def _of_shard(
    number: int, path: Path, drawn: tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int64]], size: int
) -> Cases:
    row, side, place = drawn
    shard = Shard.read(path)
    table = schemas.read(path)
    people = table.select([name for name in ("sex", schemas.OBSERVATION[1]) if name in table.column_names]).take(
        pa.array(row)
    )
    visit = shard.patient_start[row] + place
    days = np.append(shard.visit_day, 0).astype(np.int64)
    index, next_day, last = days[visit], days[visit + 1], days[shard.patient_start[row + 1] - 1]
    until = np.maximum(_ends(people), last)
    age = (index - shard.birth_day[row]) / DAYS_IN_YEAR
    female = np.array([value == "F" for value in people.column("sex").to_pylist()], bool)
    followed = {NEXT_VISIT: np.ones(len(row), bool)} | {name: until >= index + many for name, many in DAYS.items()}
    windows = {NEXT_VISIT: next_day} | {name: index + many for name, many in DAYS.items()}
    return Cases(
        np.full(len(row), number, np.int32),
        row,
        side,
        index,
        next_day,
        stratum(age, female),
        followed,
        history(cut(shard, row, np.full(len(row), ALWAYS), index), index, size),
        {name: _recorded(cut(shard, row, index + 1, end), size) for name, end in windows.items()},
    )


def stratum(age: NDArray[np.floating], female: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return each case's stratum (P,), by sex and ten-year age band, the last from 80. Unknown sex counts as male."""
    band = np.clip(age // BAND, 0, OLDEST).astype(np.int64)
    found: NDArray[np.int64] = band + (OLDEST + 1) * female.astype(np.int64)
    return found


def _ends(people: pa.Table) -> NDArray[np.int64]:
    """Return the last day of observation (P,) if the source records it, else ALWAYS."""
    if schemas.OBSERVATION[1] not in people.column_names:
        return np.full(people.num_rows, ALWAYS, np.int64)
    found: NDArray[np.int64] = (
        people.column(schemas.OBSERVATION[1]).cast(pa.int32()).fill_null(ALWAYS).to_numpy().astype(np.int64)
    )
    return found


def history(records: Shard, end: NDArray[np.integer], size: int) -> History:
    """Return each record's history (P,) on the day `end` (P,), with token ids below `size`. Raises ValueError for later visits."""
    people = len(records.birth_day)
    owner = np.repeat(np.arange(people), np.diff(records.patient_tokens))
    day = np.repeat(records.visit_day, np.diff(records.visit_start)).astype(np.int64)
    if (day > np.asarray(end)[owner]).any():
        raise ValueError("a history extends beyond its last day")
    known = records.tokens < size
    owner, day, token = owner[known], day[known], records.tokens[known].astype(np.int64)
    ago = np.asarray(end, np.int64)[owner] - day
    pairs, pair, visits = np.unique(owner * size + token, return_inverse=True, return_counts=True)
    since, first = np.full(len(pairs), 2**30), np.zeros(len(pairs), np.int64)
    np.minimum.at(since, pair, ago)
    np.maximum.at(first, pair, ago)
    recent = np.bincount(pair, ago < RECENT, len(pairs))
    return History(
        np.searchsorted(pairs, np.arange(people + 1) * size),
        (pairs % size).astype(np.int32),
        *(each.astype(np.int32) for each in (visits, recent, since, first)),
    )


def _recorded(records: Shard, size: int) -> "csr_array":
    """Return flags (P, V): whether each concept is recorded."""
    from scipy.sparse import csr_array

    people = len(records.birth_day)
    owner = np.repeat(np.arange(people), np.diff(records.patient_tokens))
    known = records.tokens < size
    pairs = np.unique(owner[known] * size + records.tokens[known].astype(np.int64))
    start = np.searchsorted(pairs, np.arange(people + 1) * size)
    return csr_array((np.ones(len(pairs), bool), (pairs % size).astype(np.int32), start), shape=(people, size))


def joined(parts: Sequence[Cases]) -> Cases:
    """Concatenate cases."""
    from scipy.sparse import csr_array, vstack

    def put(owners: Sequence[Any], name: str) -> Any:
        return np.concatenate([getattr(owner, name) for owner in owners])

    histories = [part.history for part in parts]
    columns = {name: put(histories, name) for name in _PAIRS}
    start = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(each.start) for each in histories]))])
    return Cases(
        **{name: put(parts, name) for name in _PLAIN},
        followed={name: np.concatenate([part.followed[name] for part in parts]) for name in HORIZONS},
        history=History(start, **columns),
        targets={name: csr_array(vstack([part.targets[name] for part in parts], format="csr")) for name in HORIZONS},
    )
