"""Count pairs of concepts by patient, within strata of similar patients, and after index dates.

A stratum holds patients of the same sex, in the same age band, and in the same part by how much is recorded about them (`amount`).
For the odds ratio, age is taken at the last visit, and the amount is the number of different concepts in the whole record, in about
ten parts, in more where amounts differ much (`narrow`); patients with one concept are left out. For the relative risk, age is taken
on the index date, and the amount is the number of visits in the year before, in thirds. Strata of the relative risk also divide the
time since the first visit, in bands that double in length, because first records are most frequent at the beginning of a record.
The expected number of a pair is multiplied by how often the same practices bring its concepts together (`practices`). Pairs are
counted stratum by stratum in one matrix, for `ROWS` concepts at a time, so memory grows neither with patients nor with strata.
Axes: n concepts, R rows of a block, P patients, F entries (a patient and a concept that the patient has), S strata.
"""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.relations.measures import OddsSums, RiskSums
from ehr_pipeline.relations.occurrences import NEVER, YEAR, Occurrences, age, may_be_index
from ehr_pipeline.relations.practices import Practices
from ehr_pipeline.tables.compiled_loops import compiled
from ehr_pipeline.work.progress import Progress

BAND, BAND_OF_RISK = 2.5, 5.0
"""Width of an age band in years. Within the narrower band, a hazard that doubles every eight years changes by a quarter."""
OLDEST_BANDS = 6
"""Bands of the time since the first visit; the last one is open."""
PARTS, PARTS_FOR, PARTS_OF_RISK = 10, 5000, 3
"""Parts by `amount`, with equally many patients: PARTS for PARTS_FOR patients. Within thirds, those who attend often still have
more of any two complaints, so many reported pairs would only show who attends often."""
WIDEST = 2.0
"""Most that amounts within a part may differ by, as a factor."""
ROWS, SEXES = 1024, 64


@dataclass(frozen=True)
class Pairs:
    """Counts and sums over strata of all pairs (n, n)."""

    both: NDArray[np.int32]
    """Number of patients who ever had both concepts."""
    odds: OddsSums
    risks: RiskSums
    practices: int
    """Number of practices whose habits are taken into account; 0 if they are not known."""


def count(occurrences: Occurrences, after_days: int) -> Pairs:
    """Count all pairs."""
    n = occurrences.concepts
    both, odds, risks = np.zeros((n, n), np.int32), OddsSums.zeros((n, n)), RiskSums.zeros((n, n))
    strata, controls, entries = _strata(occurrences), _controls(occurrences), _index_entries(occurrences, after_days)
    practices = _practices(occurrences, strata)
    blocks = [(begin, min(begin + ROWS, n)) for begin in range(0, n, ROWS)]
    progress = Progress("comparing similar patients", len(blocks))
    with ThreadPoolExecutor(2) as threads:  # the compiled loops release the interpreter lock
        for begin, end in blocks:
            rows = begin, end
            one = threads.submit(_odds_of, occurrences, strata, rows, both, _rows(odds, begin, end))
            given = controls, entries, after_days
            other = threads.submit(_risks_of, occurrences, given, rows, _rows(risks, begin, end))
            one.result(), other.result()
            if practices.number:
                together = practices.common_practice_ratio(begin, end)
                _rows(odds, begin, end).multiply_expected(together)
                _rows(risks, begin, end).multiply_expected(together)
            progress.advance(1)
    np.fill_diagonal(both, occurrences.patients)
    return Pairs(both, odds, risks, practices.number)


def _practices(occurrences: Occurrences, strata: "_Sorted") -> Practices:
    practices = Practices.of_patients(occurrences.people.practice, occurrences.concepts)
    if practices.number:
        for _, patients in strata.each():
            practices.add((occurrences.start, occurrences.place), patients)
    return practices


def _rows(sums: Any, begin: int, end: int) -> Any:
    return type(sums)(*(getattr(sums, name)[begin:end] for name in type(sums).__annotations__))


@dataclass(frozen=True)
class _Sorted:
    """Patients, or other items, sorted by stratum."""

    order: NDArray[np.int64]
    bounds: NDArray[np.int64]

    @classmethod
    def by(cls, stratum: NDArray[np.int64]) -> "_Sorted":
        """Sort items by the index of their stratum, from 0. Items with an index below 0 are left out."""
        order = np.argsort(stratum, kind="stable")
        wanted = np.arange(int(stratum.max(initial=-1)) + 2)
        return cls(order, np.searchsorted(stratum[order], wanted))

    def each(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Yield each stratum that is not empty: its index, and the indices of the items in it."""
        for number, (begin, end) in enumerate(zip(self.bounds[:-1], self.bounds[1:], strict=True)):
            if end > begin:
                yield number, self.order[begin:end]


def strata_of(
    years: NDArray[np.float64],
    sex: NDArray[np.int64],
    amount: NDArray[np.integer],
    cuts: NDArray[np.float64],
    *,
    since: NDArray[np.int32] | None = None,
) -> NDArray[np.int64]:
    """Return, for each patient or index date (n,), the index of its stratum, by age in years, sex and `amount` (see above).

    The limits `cuts` divide the amount into parts. For index dates, `since` holds the days since the patient's first visit.
    """
    part, parts = np.searchsorted(cuts, amount, side="left"), len(cuts) + 1
    width = BAND if since is None else BAND_OF_RISK
    strata: NDArray[np.int64] = (np.maximum(years, 0) // width).astype(np.int64) * parts * SEXES + sex * parts + part
    if since is None:
        return strata
    band = np.floor(np.log2(np.maximum(since, YEAR) / YEAR)).astype(np.int64)
    return strata * OLDEST_BANDS + np.minimum(band, OLDEST_BANDS - 1)


def parts_for(patients: int) -> int:
    """Return the number of parts, k, by `amount` for the odds ratio. The bias that k parts leave falls as 1 / k²; it should fall as
    fast as the standard errors, with the square root of the number of patients. So k grows as its fourth root."""
    parts: int = max(round(PARTS * (patients / PARTS_FOR) ** 0.25), 1)
    return parts


def _cuts(amounts: NDArray[np.integer], parts: int) -> NDArray[np.float64]:
    """Return the limits (parts - 1,) that divide amounts into parts of equal numbers."""
    shares = np.arange(1, parts) / parts
    return np.quantile(amounts, shares) if len(amounts) else np.zeros(parts - 1)


def narrow(cuts: NDArray[np.float64], amounts: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the limits `cuts` of parts, with further limits, so that amounts within a part differ at most by the factor WIDEST.

    Parts of equally many patients are wide where amounts are uneven: patients with one visit (a vaccination, an emergency) are then
    in one part with patients with dozens of visits. In such a part any two concepts seem to go together, because some of its
    patients have few concepts at all.
    """
    ends = np.unique(np.floor([amounts.min() - 1, *cuts, amounts.max()])) + 0.5
    limits = list[float]()
    for low, high in pairwise(ends.tolist()):
        limits += np.geomspace(low, high, math.ceil(math.log(high / low, WIDEST)) + 1)[1:].tolist()
    return np.array(limits[:-1])


def _strata(occurrences: Occurrences) -> _Sorted:
    people = occurrences.people
    # Patients with one concept have no pair, and cannot show that two concepts avoid each other.
    some = people.concepts > 1
    cuts = _cuts(people.concepts[some], parts_for(int(some.sum())))
    if some.any():
        cuts = narrow(cuts, people.concepts[some])
    number = strata_of(age(people.last, people.birth), people.sex, people.concepts, cuts)
    return _Sorted.by(np.where(some, number, -1))


def _odds_of(
    occurrences: Occurrences, strata: _Sorted, rows: tuple[int, int], both: NDArray[np.int32], odds: OddsSums
) -> None:
    n = occurrences.concepts
    held = occurrences.start, occurrences.place
    for _, patients in strata.each():
        counts, margins = np.zeros((rows[1] - rows[0], n), np.int32), np.zeros(n, np.int64)
        _count_both(held, patients, rows, counts, margins)
        odds.add(counts, margins[rows[0] : rows[1]], margins, len(patients))
        both[rows[0] : rows[1]] += counts


@compiled
def _count_both(held: Any, patients: Any, rows: Any, counts: Any, margins: Any) -> None:
    start, place = held
    low, high = rows
    for patient in patients:
        for one in range(start[patient], start[patient + 1]):
            i = place[one]
            margins[i] += 1
            if low <= i < high:
                for other in range(start[patient], start[patient + 1]):
                    counts[i - low, place[other]] += 1


@dataclass(frozen=True)
class _Controls:
    """Random index dates for comparison: the patients, sorted by stratum, and the limits that divide the number of visits in the
    year before into thirds."""

    by: _Sorted
    cuts: NDArray[np.float64]


def _controls(occurrences: Occurrences) -> _Controls:
    people = occurrences.people
    has = people.index != NEVER
    cuts = _cuts(people.recent[has], PARTS_OF_RISK)
    years, since = age(people.index, people.birth), people.index - np.where(has, people.first, people.index)
    number = strata_of(years, people.sex, people.recent, cuts, since=since)
    return _Controls(_Sorted.by(np.where(has, number, -1)), cuts)


def _index_entries(occurrences: Occurrences, after_days: int) -> NDArray[np.bool_]:
    """Return flags (F,) of the entries that are index dates."""
    owner, people = occurrences.owner, occurrences.people
    return may_be_index(np.asarray(occurrences.day), people.first[owner], people.last[owner], after_days)


def _risks_of(
    occurrences: Occurrences,
    given: tuple[_Controls, NDArray[np.bool_], int],
    rows: tuple[int, int],
    risks: RiskSums,
) -> None:
    """Add the index dates of a block of concepts to `risks`. They are compared with random index dates in the same stratum, of
    patients who do not have the concept by that date."""
    controls, usable, after_days = given
    shape = rows[1] - rows[0], occurrences.concepts
    held = occurrences.start, occurrences.place, occurrences.day
    entries = np.flatnonzero(usable & (occurrences.place >= rows[0]) & (occurrences.place < rows[1]))
    owner = np.searchsorted(occurrences.start, entries, side="right") - 1
    people = occurrences.people
    day, recent = np.asarray(occurrences.day)[entries], np.asarray(occurrences.recent)[entries]
    years, since = age(day, people.birth[owner]), day - people.first[owner]
    cases = _Sorted.by(strata_of(years, people.sex[owner], recent, controls.cuts, since=since))
    exposed = dict(cases.each())
    for number, patients in controls.by.each():
        if number not in exposed:
            continue
        exposure = exposed[number]
        after, had, first = np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape[0], np.int32)
        _count_after(held, (entries[exposure], owner[exposure]), (rows[0], after_days), (after, had, first))
        followed, at_risk, without = _unexposed(held, (patients, people.index), (*rows, after_days), shape)
        risks.add((after, first[:, None] - had), (followed, at_risk), (first, without))


@compiled
def _count_after(held: Any, index: Any, window: Any, counts: Any) -> None:
    """Count, for each index date, the concepts that follow it within the window, and those recorded by that day (inclusive)."""
    start, place, day = held
    entries, owner = index
    low, within = window
    after, had, first = counts
    for number in range(len(entries)):
        entry, patient = entries[number], owner[number]
        i, since = place[entry] - low, day[entry]
        first[i] += 1
        for other in range(start[patient], start[patient + 1]):
            days = day[other] - since
            if days <= 0:
                had[i, place[other]] += 1
            elif days <= within:
                after[i, place[other]] += 1


def _unexposed(
    held: Any, dates: tuple[Any, Any], window: tuple[int, int, int], shape: tuple[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return cases and people at risk (R, n) after the index dates of patients who do not have the row's concept by then, and the
    number of these patients (R,)."""
    with_it = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    everybody = np.zeros(shape[1], np.int32), np.zeros(shape[1], np.int32)
    _count_with(held, dates, window, with_it, everybody)
    (followed, had), (all_followed, all_had) = with_it, everybody
    without = np.int32(len(dates[0])) - all_had[window[0] : window[1]]
    return all_followed - followed, without[:, None] - (all_had - had), without


@compiled
def _count_with(held: Any, dates: Any, window: Any, with_it: Any, everybody: Any) -> None:
    """Count the concepts that follow the index date within the window, and those recorded by the index date (inclusive): among
    patients who have the row's concept by the index date, and among all patients (`everybody`)."""
    start, place, day = held
    patients, index = dates
    low, high, within = window
    followed, had = with_it
    all_followed, all_had = everybody
    for patient in patients:
        since = index[patient]
        for other in range(start[patient], start[patient + 1]):
            j, days = place[other], day[other] - since
            if days > within:
                break
            if days <= 0:
                all_had[j] += 1
            else:
                all_followed[j] += 1
            for one in range(start[patient], other + 1 if days <= 0 else other):
                i = place[one]
                if day[one] > since:
                    break
                if low <= i < high:
                    if days <= 0:
                        had[i - low, j] += 1
                    else:
                        followed[i - low, j] += 1
                if days <= 0 and one != other and low <= j < high:
                    had[j - low, i] += 1
