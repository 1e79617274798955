"""Input and output files of fine-tuning, in the folder of the job. This module imports neither torch nor polars.

tuning/<task>.json                     facts of the task: heads, samples
tuning/<task>.npz                      rows of the task, labels, and the classifier's initial values for each sample
tuning/<task>/<head>-<sample>.npy      log-odds (n,) of the task's rows, NaN in the training set
tuning/<task>/<head>.safetensors       weights with all labels, if they are kept (`tuned_weights`)

Axes: n rows of the task, m those of a sample, D hidden size.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.store import durable

Floats = NDArray[np.float64]
FOLDER = "tuning"
TRAINING = 3.0
"""Training on a history takes about as long as scoring this many histories."""
FEWEST_TO_CHOOSE = 100
"""The number of epochs is chosen only if a sample has at least this many cases, and as many non-cases."""
PARTS = ("offset", "weights", "history")
"""The arrays of a `Linear`."""
COLUMNS = ("shard", "row", "first", "last", "query_day", "label", "weight", "fitted", "judged")


def effort(judged: float, size: float, epochs: int, *, chooses: bool) -> float:
    """Estimate how long it takes to train on `size` rows and to score `judged` rows. The unit is the time to score one history.

    If the number of epochs has to be chosen, the model is first trained on four fifths of the rows.
    """
    return judged + TRAINING * size * epochs * (1.8 if chooses else 1.0)


@dataclass(frozen=True)
class InitialHead:
    """A sample of labels, with the initial values of a classifier for it."""

    rows: NDArray[np.int64]
    """Rows of the task (m,), ascending."""
    label: NDArray[np.bool_]
    weight: Floats
    shift: float
    """Correction added to the final log-odds, because cases were drawn more often (`learners.Sample.shift`)."""
    kept: NDArray[np.bool_] | None
    """Flags (m,) of the rows to train on while the number of epochs is chosen; None if the sample is too small to choose."""
    starts: tuple["Linear", "Linear"] | None
    """Initial classifiers for the whole sample, and for its `kept` rows; None without a classifier."""
    is_part: bool = False

    def part(self, chosen: NDArray[np.bool_]) -> "InitialHead":
        """Return a part of the sample. It starts from the classifier that was fitted on the `kept` rows."""
        return InitialHead(
            self.rows[chosen], self.label[chosen], self.weight[chosen], self.shift, None, self.starts, True
        )

    @property
    def weights(self) -> Floats:
        """Weights of the state at the mask (D,)."""
        return self._linear.weights

    @property
    def offset(self) -> Floats:
        """The fixed part (n,) of the classifier's log-odds for each row of the task."""
        return self._linear.offset

    @property
    def history(self) -> Floats:
        """Weights of the vector of the history, and the intercept (D + 1,), which give `offset`."""
        return self._linear.history

    @property
    def _linear(self) -> "Linear":
        assert self.starts is not None
        return self.starts[1 if self.is_part else 0]


@dataclass(frozen=True)
class Linear:
    """A logistic regression on the vector of the history and the state at the mask."""

    offset: Floats
    """The part (n,) of the log-odds that training does not change: from the vector of the history, and the intercept."""
    weights: Floats
    """Weights of the state at the mask (D,)."""
    history: Floats
    """Weights of the vector of the history, and the intercept (D + 1,): they give the offset of any history."""


@dataclass(frozen=True)
class TaskSamples:
    """The rows of a task, as `rows.Rows` has them, and its samples."""

    shard: NDArray[np.int64]
    row: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    query_day: NDArray[np.int64]
    label: NDArray[np.bool_]
    weight: Floats
    fitted: NDArray[np.int64]
    """The rows that are in at least one sample, ascending."""
    judged: NDArray[np.int64]
    """The rows on the validation and the test set, ascending."""
    tokens: NDArray[np.int64]
    """Token ids of the outcome."""
    stops: bool
    arrays: Mapping[str, NDArray[np.generic]]
    """Arrays of the samples, by name and number."""
    shifts: tuple[float, ...]

    def sample(self, number: int) -> InitialHead:
        """Return the sample with this number."""
        arrays = self.arrays
        rows = np.asarray(arrays[f"rows{number}"], np.int64)
        starts = None
        if f"weights{number}" in arrays:
            starts = tuple(
                Linear(*(np.asarray(arrays[f"{part}{number}{of}"]) for part in PARTS))
                for of in ("", "part" if f"weights{number}part" in arrays else "")
            )
        kept = np.asarray(arrays[f"kept{number}"], bool) if f"kept{number}" in arrays else None
        return InitialHead(rows, self.label[rows], self.weight[rows], self.shifts[number], kept, starts)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Task:
    """A task whose input files have been written."""

    folder: Path
    name: str
    heads: tuple[str, ...]
    sizes: tuple[int, ...]
    """Number of rows of each sample."""
    choose: tuple[bool, ...]
    """Whether the number of epochs is chosen, for each sample."""
    names: tuple[str, ...]
    """Name of each sample: its number of labels, or 'all', and its replicate."""
    judged: int
    """Number of rows that are scored."""

    @classmethod
    def all(cls, work: Path) -> list["Task"]:
        """Return all tasks whose input files are in the folder of a job."""
        contents = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((work / FOLDER).glob("*.json"))]
        return [
            cls(
                work / FOLDER,
                each["name"],
                tuple(each["heads"]),
                tuple(each["sizes"]),
                tuple(each["choose"]),
                tuple(each["names"]),
                each["judged"],
            )
            for each in contents
        ]

    @cached_property
    def samples(self) -> int:
        """Number of samples."""
        return len(self.sizes)

    def description(self, which: int) -> str:
        """Return a description of a sample, for the log."""
        return f"{self.names[which].split('-')[0]} labels"

    def answer(self, head: str, which: int) -> Path:
        """Return the output file of a head and a sample."""
        return answer_of(self.folder, self.name, head, self.names[which])

    def weights(self, head: str) -> Path:
        """Return the file with the weights of a head that was trained on all labels."""
        return weights_of(self.folder, self.name, head)

    def read(self) -> TaskSamples:
        """Read the rows and samples of the task."""
        with np.load(self.folder / f"{self.name}.npz") as arrays:
            stored = {name: arrays[name] for name in arrays.files}
        content = json.loads((self.folder / f"{self.name}.json").read_text(encoding="utf-8"))
        columns = {name: stored.pop(name) for name in COLUMNS}
        tokens = np.array(content["tokens"], np.int64)
        return TaskSamples(
            **columns, tokens=tokens, stops=content["stops"], arrays=stored, shifts=tuple(content["shifts"])
        )


def name_of(labels: int | None, replicate: int) -> str:
    """Return the name of a sample."""
    return f"{'all' if labels is None else labels}-{replicate}"


def answer_of(folder: Path, task: str, head: str, sample: str) -> Path:
    """Return the file with the log-odds of a task."""
    return folder / task / f"{head}-{sample}.npy"


def weights_of(folder: Path, task: str, head: str) -> Path:
    """Return the file with the weights of a task's head."""
    return folder / task / f"{head}.safetensors"


def save(path: Path, odds: Floats) -> None:
    """Write log-odds (n,): the file appears complete or not at all."""
    with durable.complete(path) as beside, beside.open("wb") as stream:
        np.save(stream, odds)


def write(work: Path, name: str, facts: Mapping[str, object], columns: Mapping[str, NDArray[np.generic]]) -> None:
    """Write the input files of a task, which `Task` reads."""
    folder = work / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / f"{name}.npz", **columns)  # type: ignore[arg-type]
    content = {"name": name, **facts, "judged": len(columns["judged"])}
    (folder / f"{name}.json").write_text(json.dumps(content) + "\n", encoding="utf-8")
