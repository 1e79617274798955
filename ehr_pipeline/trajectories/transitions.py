"""Transitions between clusters: from one window of a patient's record to the next, and from the first to the last.

A window holds less than a whole record, so some patients change their cluster by chance. Chance works in both
directions: if nobody really changes, windows are exchangeable, and as many patients go from A to B as from B to A. So
the difference of the two numbers tests for real change (McNemar 1947, exact by the binomial distribution; Bowker 1948
for more than two states). The test uses the first and the last window, so that each patient counts once. Changes
equally frequent in both directions look like chance.

`transitions.csv`: one row for each pair of clusters and kind of step with at least one patient; nothing in it is suppressed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import binom

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.tables import schemas

FILE = "transitions.csv"
Integers = NDArray[np.int64]
Steps = tuple[Integers, Integers, Integers]
"""For each step: patient, row of the window left, row of the window entered."""


@dataclass(frozen=True)
class Course:
    """The windows of all patients, in order of time within each patient. Arrays are of shape (W,), W windows."""

    patient: Integers
    number: Integers
    cluster: Integers

    @classmethod
    def of(cls, table: pa.Table) -> "Course":
        """Return the windows of a trajectories table, whose rows are grouped by patient and in order of time."""
        names = table.column("patient_id").combine_chunks().dictionary_encode()
        patient = names.indices.to_numpy().astype(np.int64)
        number, cluster = (table.column(name).to_numpy().astype(np.int64) for name in ("window", "cluster"))
        return cls(patient, number, cluster)

    def consecutive(self) -> Steps:
        """Return pairs of windows of one patient that follow each other without a gap."""
        follows = (np.diff(self.patient) == 0) & (np.diff(self.number) == 1)
        left = np.flatnonzero(follows)
        return self.patient[left], left, left + 1

    def first_and_last(self) -> Steps:
        """Return the first and the last window of every patient with two or more windows."""
        first = np.flatnonzero(np.diff(self.patient, prepend=-1))
        last = np.append(first[1:], len(self.patient)) - 1
        several = last > first
        return self.patient[first[several]], first[several], last[several]

    def table(self, steps: Steps, clusters: Integers) -> Integers:
        """Return how many patients went from row to column cluster (K, K); `clusters` (K,) are sorted numbers."""
        place = np.searchsorted(clusters, self.cluster)
        count = len(clusters)
        pair = (steps[0] * count + place[steps[1]]) * count + place[steps[2]]
        pairs = np.unique(pair) % (count * count)  # a patient who goes the same way twice counts once
        return np.bincount(pairs, minlength=count * count).reshape(count, count)


def log_p_one_way(counts: Integers) -> NDArray[np.float64]:
    """Return ln p (K, K) of the exact test that A to B and B to A are equally frequent; 0 on the diagonal."""
    both = counts + counts.T
    fewer = np.minimum(counts, counts.T)
    found: NDArray[np.float64] = np.minimum(np.log(2) + binom.logcdf(fewer, both, 0.5), 0)
    found[both == 0] = 0
    np.fill_diagonal(found, 0)
    return found


def write(folder: Path, course: Course, clusters: Integers) -> None:
    """Write the transitions, by first and last window, and by consecutive windows."""
    consecutive = course.consecutive()
    leaving = course.number[consecutive[1]]
    tables = [_rows("first to last", course.table(course.first_and_last(), clusters), clusters, True)]
    for number in np.unique(leaving).tolist():
        patient, left, entered = (column[leaving == number] for column in consecutive)
        table = course.table((patient, left, entered), clusters)
        tables.append(_rows(f"{number} to {number + 1}", table, clusters, False))
    spreadsheet.write(folder / FILE, schemas.TRANSITIONS, chain.from_iterable(tables))


def _rows(step: str, counts: Integers, clusters: Integers, tested: bool) -> Iterator[tuple[object, ...]]:
    log_p = log_p_one_way(counts)
    for row, column in zip(*np.nonzero(counts), strict=True):
        test = f"{log_p[row, column]:.6g}" if tested and row != column else ""
        yield (step, clusters[row], clusters[column], counts[row, column], counts[column, row], test)
