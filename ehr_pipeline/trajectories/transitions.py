"""Transitions between clusters: from one window of a patient's record to the next, and from the first to the last.

Numbers of transitions only describe, and include the effects of ageing. A patient's windows also differ by chance, equally in both
directions. So the test is on the difference between the number of patients who went from A to B and the number who went from B to
A. It uses first and last windows, so each patient counts once. Without ageing, and without anything else that moves records,
this difference would be 0 (McNemar 1947; Bowker 1948 for more than two states). The difference is compared with the one expected if
patients' records change like those of similar patients (`expected`). Changes that are equally frequent in both directions cannot be
distinguished from chance.

`transitions.csv`: one row for each pair of clusters and kind of step with at least one patient; nothing in it is suppressed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import binom, norm

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.tables import schemas
from ehr_pipeline.trajectories.expected import DONORS

FILE = "transitions.csv"
FEWEST_MOVES = 10
"""Fewest patients who moved between two clusters, one way or the other, for a test: fewer would be hidden on the page anyway."""
MODEL_ERROR = 0.15
"""Relative standard error of an expected difference, because the model is not exact: with many patients, it outweighs chance."""
FIRST_TO_LAST = "first to last"
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
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
        """Return all steps from one window of a patient to the next, if no window between them is missing."""
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


@dataclass(frozen=True)
class Tested:
    """Results of the test of moves from the first to the last window, as read from an artifact. Axis: K sorted clusters."""

    expected: Floats
    """Number of patients (K, K) expected to go from row to column cluster, given what similar patients do; NaN if unknown."""
    log_p: Floats
    """ln p (K, K) of the test that more patients went one way than the other, beyond what is expected; the same for both
    directions, NaN for untested pairs."""

    @classmethod
    def read(cls, folder: Path, clusters: Integers) -> "Tested":
        """Read the folder of a `patient_trajectories` artifact; `clusters` (K,) are sorted numbers."""
        expected, log_p = np.full((2, len(clusters), len(clusters)), np.nan)
        for row in spreadsheet.read(folder / FILE, schemas.TRANSITIONS):
            if row["step"] == FIRST_TO_LAST and row["expected"] is not None:
                left, entered = np.searchsorted(clusters, [row["from_cluster"], row["to_cluster"]])
                expected[left, entered], expected[entered, left] = row["expected"], row["expected_back"]
                if row["ln_p"] is not None:
                    log_p[left, entered] = log_p[entered, left] = row["ln_p"]
        return cls(expected, log_p)


def log_p_beyond(counts: Integers, expected: Floats) -> Floats:
    """For each pair of clusters A and B, test whether more patients moved one way than the other, beyond the expected difference.

    Returns ln p (K, K); NaN for pairs with few moves. The test is two-sided, and p is the same for both directions. Numbers of
    moves count as Poisson; their means, and so the variance, are estimated under the hypothesis (score test: Krishnamoorthy &
    Thomson 2004). Expected numbers are means over DONORS draws, and an expected difference has the relative standard error
    MODEL_ERROR. An expected difference in the opposite direction counts as 0, and no p is smaller than that of the exact test that
    both directions are equally frequent. So no move is more certain than it would be without ageing.
    """
    more, fewer = np.maximum(counts, counts.T).astype(float), np.minimum(counts, counts.T).astype(float)
    difference = np.where(counts >= counts.T, expected - expected.T, expected.T - expected)
    due = np.maximum(difference, 0)
    half = more + fewer - 2 * due
    back = (half + np.sqrt(half**2 + 8 * fewer * due)) / 4
    variance = np.maximum(2 * back + due, expected + expected.T) * (1 + 1 / DONORS) + (MODEL_ERROR * due) ** 2
    score = (more - fewer - due) / np.sqrt(np.maximum(variance, 1e-12))
    beyond = np.log(2) + norm.logsf(score)
    exact = np.log(2) + binom.logcdf(fewer, more + fewer, 0.5)
    found: Floats = np.minimum(np.maximum(beyond, exact), 0)
    found[more + fewer < FEWEST_MOVES] = np.nan
    np.fill_diagonal(found, np.nan)
    return found


def write(folder: Path, course: Course, clusters: Integers, expected: Floats | None) -> None:
    """Write the transitions from the first to the last window, and those between consecutive windows.

    `expected` (K, K) are the moves expected from the first to the last window; None if they are unknown.
    """
    consecutive = course.consecutive()
    leaving = course.number[consecutive[1]]
    tables = [_rows(FIRST_TO_LAST, course.table(course.first_and_last(), clusters), clusters, expected)]
    for number in np.unique(leaving).tolist():
        patient, left, entered = (column[leaving == number] for column in consecutive)
        table = course.table((patient, left, entered), clusters)
        tables.append(_rows(f"{number} to {number + 1}", table, clusters, None))
    spreadsheet.write(folder / FILE, schemas.TRANSITIONS, chain.from_iterable(tables))


def _rows(step: str, counts: Integers, clusters: Integers, expected: Floats | None) -> Iterator[tuple[object, ...]]:
    log_p = None if expected is None else log_p_beyond(counts, expected)
    for row, column in zip(*np.nonzero(counts), strict=True):
        more: list[str] = ["", "", ""]
        if expected is not None and log_p is not None:
            test = log_p[row, column]
            more = [
                f"{expected[row, column]:.2f}",
                f"{expected[column, row]:.2f}",
                "" if np.isnan(test) else f"{test:.6g}",
            ]
        yield (step, clusters[row], clusters[column], counts[row, column], counts[column, row], *more)
