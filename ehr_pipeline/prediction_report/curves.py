"""Learning curves over tasks, and how many labels the best baseline needs to match a model.

A curve is the mean AUROC over the tasks that have all of its points (a macro average: every task counts the same). Two curves are
compared: that of the best model with the encoder, and that of the best baseline. Each is chosen separately for every number of
labels; both are chosen on the test set in the same way, so neither has an advantage. Axes: T tasks, N numbers of labels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.predictions.deviations import by_model
from ehr_pipeline.predictions.models import BY_NAME, MODELS, Kind
from ehr_pipeline.predictions.table import TaskResults

USUAL = 100
"""The number of labels that the first sentence of the page is about, if models were fitted with this number."""
Z = 1.959964
"""Half the width of a 95 % interval, in standard errors."""
KINDS: tuple[Kind, ...] = ("model", "baseline")
"""The two sides that are compared."""
NONE, ALL = 0, None
"""Number of labels of a model that needs none, and of a model fitted with all labels."""


@dataclass(frozen=True)
class Point:
    """Mean AUROC over tasks, or a difference of two, with its standard error."""

    samples: NDArray[np.float64]
    """The mean over tasks with each sample of labels (R,)."""
    deviations: NDArray[np.float64]
    """How far it would move with other patients in the test set: of each sample, in each draw (R, D), the same draws for all
    points."""

    @property
    def value(self) -> float:
        """The mean over samples of labels."""
        return float(self.samples.mean())

    @property
    def error(self) -> float:
        """Standard error, over patients of the test set and over samples of labels.

        Samples also differ by chance of the test set: this part of their variance is already in the deviations, and is subtracted.
        """
        samples, of_mean = len(self.samples), float(np.mean(self.deviations.mean(0) ** 2))
        if samples == 1:
            return math.sqrt(of_mean)
        apart = (float(np.mean(self.deviations**2)) - of_mean) * samples / (samples - 1)
        return math.sqrt(of_mean + max(float(self.samples.var(ddof=1)) - apart, 0.0) / samples)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval, within 0 and 1."""
        return max(self.value - Z * self.error, 0.0), min(self.value + Z * self.error, 1.0)

    def minus(self, other: "Point") -> "Point":
        """Return the difference from another point, paired: both sides have the same patients, and the same samples of labels."""
        kept = slice(None)
        if 1 not in (len(self.samples), len(other.samples)):
            kept = slice(min(len(self.samples), len(other.samples)))
        return Point(self.samples[kept] - other.samples[kept], self.deviations[kept] - other.deviations[kept])


@dataclass(frozen=True)
class Curves:
    """The curves of all models over the same tasks."""

    tasks: tuple[str, ...]
    """The tasks that every point averages over."""
    labels: tuple[int, ...]
    """Numbers of labels, ascending, without 'all'."""
    all: int
    """The median number of labels over the tasks when all are used. A patient with several index dates has several labels."""
    points: Mapping[str, Mapping[int | None, Point]]
    """Points by model and number of labels (ALL: None). A model that needs no labels has one point, at NONE."""
    left_out: int
    """Number of scored tasks that are left out of the averages, because they have fewer labels than one of the points needs."""

    def best(self, kind: Kind, labels: int | None) -> tuple[str, Point] | None:
        """Return the best model of a kind, with its point, among those with this number of labels or in need of none; or None."""
        found = {
            name: by_labels[known]
            for name, by_labels in self.points.items()
            if BY_NAME[name].kind == kind and (known := NONE if NONE in by_labels else labels) in by_labels
        }
        return max(found.items(), key=lambda item: item[1].value) if found else None

    @cached_property
    def baseline(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Numbers of labels (N,), and the highest AUROC (N,) of any baseline with at most that number."""
        found = [(number, best[1].value) for number in (*self.labels, ALL) if (best := self.best("baseline", number))]
        numbers = np.array([self.all if number is None else number for number, _ in found], np.float64)
        return numbers, np.maximum.accumulate(np.array([value for _, value in found], np.float64))

    def labels_for(self, auroc: float) -> float:
        """Return how many labels the best baseline needs to reach an AUROC, interpolated in the logarithm of the number of labels.

        If the smallest number of labels suffices, return that number; if all labels do not suffice, return infinity.
        """
        numbers, values = self.baseline
        if not len(values) or auroc > values[-1]:
            return float("inf")
        if auroc <= values[0]:
            return float(numbers[0])
        place = int(np.searchsorted(values, auroc))
        share = (auroc - values[place - 1]) / (values[place] - values[place - 1])
        return float(np.exp(np.interp(share, [0, 1], np.log(numbers[place - 1 : place + 1]))))

    def nearest_baseline(self, auroc: float) -> Point:
        """Return the point of a best baseline, over all numbers of labels, whose AUROC is nearest to this one."""
        found = [best[1] for number in (*self.labels, ALL) if (best := self.best("baseline", number))]
        return min(found, key=lambda point: abs(point.value - auroc))


@dataclass(frozen=True)
class LabelsSaved:
    """How many labels the best baseline needs to be as good as the encoder's model."""

    labels: int | None
    """Number of labels of the encoder's model; None: all."""
    model: str
    baseline: str
    difference: float
    """AUROC of the best model minus that of the best baseline with as many labels, mean over tasks."""
    error: float
    equals: float
    """Number of labels with which the best baseline is as good as the model."""
    low: float
    high: float
    """The 95 % interval of `equals`; infinite if all labels do not suffice. If the model is better, it allows for this selection
    (`selected`)."""

    @property
    def verdict(self) -> str:
        """'level' if the 95 % interval of the difference contains 0, else 'better' or 'worse'."""
        return verdict(self.difference, self.error)


def verdict(difference: float, error: float) -> str:
    """'level' if the 95 % interval of a difference contains 0, else 'better' or 'worse'."""
    if abs(difference) <= Z * error:
        return "level"
    return "better" if difference > 0 else "worse"


def selected(difference: float, error: float) -> tuple[float, float]:
    """Return the 95 % interval of a difference that is reported only because it is more than Z standard errors above 0.

    If the true difference is small for the number of patients, such a difference is found only if chance adds to it. The usual
    interval then lies too high, and misses far more often than 5 %. This one contains the true difference in 95 % of the reported
    cases, by the truncated normal distribution (Zhong & Prentice 2008). Its lower end can be far below 0.
    """

    def exceeded(true: float) -> float:
        """Return the chance that a reported difference exceeds the observed one. It rises with the true difference."""
        return math.erfc((found - true) / math.sqrt(2)) / math.erfc((Z - true) / math.sqrt(2))

    found = difference / error
    ends = []
    for wanted in (0.025, 0.975):
        low, high = Z - 30.0, found + 5.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if exceeded(middle) < wanted else (low, middle)
        ends.append(low * error)
    return ends[0], ends[1]


def curves(results: TaskResults) -> Curves | None:
    """Return the curves of all models over the scored tasks; None if no task was scored."""
    scored = [
        row["task"] for row in results.verdicts if row["model_auroc"] is not None and row["baseline_auroc"] is not None
    ]
    if not scored:
        return None
    there = {(row["task"], row["model"], row["labels"]) for row in results.results}
    every = sorted({row["labels"] for row in results.results if row["labels"]})
    having = {number: {task for task in scored if _has(there, task, number)} for number in every}
    labels = tuple(number for number in every if 2 * len(having[number]) >= len(scored))
    tasks = tuple(task for task in scored if all(task in having[number] for number in labels))
    if not tasks:
        labels, tasks = (), tuple(scored)
    fitted = [row["fitted_rows"] for row in results.verdicts if row["task"] in tasks]
    deviations = by_model(results.deviations)
    points = {
        model.name: {
            number: point
            for number in (NONE, *labels, ALL)
            if (point := _point(results, deviations, tasks, (model.name, number))) is not None
        }
        for model in MODELS
    }
    kept = {name: found for name, found in points.items() if found}
    return Curves(tasks, labels, int(np.median(fitted)), kept, len(scored) - len(tasks))


def labels_saved(found: Curves, labels: int | None) -> LabelsSaved | None:
    """Return how many labels the best baseline needs to equal the encoder's model with this number of labels; None if either is
    missing."""
    model, baseline = found.best("model", labels), found.best("baseline", labels)
    if model is None or baseline is None:
        return None
    apart = model[1].minus(baseline[1])
    value, difference, error = model[1].value, model[1].value - baseline[1].value, apart.error
    better = error > 0 and verdict(difference, error) == "better"
    ends = selected(difference, error) if better else (difference - Z * error, difference + Z * error)
    low, high = (found.labels_for(value - difference + end) for end in ends)
    return LabelsSaved(labels, model[0], baseline[0], difference, error, found.labels_for(value), low, high)


def usual(found: Curves) -> int | None:
    """Return the number of labels nearest to USUAL among those that models were fitted with; None (all labels) if there is none."""
    return min(found.labels, key=lambda number: abs(number - USUAL)) if found.labels else None


def _has(there: set[tuple[str, str, int | None]], task: str, labels: int) -> bool:
    """Return whether both sides have a model of a task with at most so many labels, and one with exactly so many."""
    own = {(BY_NAME[model].kind, number) for each, model, number in there if each == task and number in (NONE, labels)}
    return {"baseline", "model"} <= {kind for kind, _ in own} and labels in {number for _, number in own}


def _point(
    results: TaskResults,
    deviations: Mapping[tuple[str, str, int | None], NDArray[np.float32]],
    tasks: Sequence[str],
    key: tuple[str, int | None],
) -> Point | None:
    """Return the mean over tasks of a model with a number of labels (`key`); None unless every task has such a model."""
    rows = [results.of(task, *key) for task in tasks]
    if not all(rows):
        return None
    samples = min(map(len, rows))
    by_sample = np.array([[row["auroc"] for row in own[:samples]] for own in rows]).mean(0)
    return Point(by_sample, np.mean([deviations[task, *key][:samples] for task in tasks], axis=0, dtype=np.float64))
