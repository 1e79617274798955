"""The rows of a task that models are fitted and evaluated on: labels with histories. Their number has an upper bound.

Axes: n rows of a task, P its patients.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.patients.histories import ALWAYS
from ehr_pipeline.patients.settings import TEST, TRAIN, VALIDATION
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.align import one_chunk
from ehr_pipeline.tables.hashing import hash_of_column, hash_of_numbers
from ehr_pipeline.tasks.table import Definition, rows_of_task, shards, weights

FIT, TUNE, JUDGE = range(3)
SIDES = (TRAIN, VALIDATION, TEST)
"""Models are fitted on the training set, recalibrated and chosen on the validation set, and evaluated on the test set."""
_DAYS = ("index_date", "history_from", "history_until", "prediction_date", "window_from", "window_until")


@dataclass(frozen=True)
class Rows:
    """Rows of one task, in the order of shards and rows. Every array has one value for each row (n,)."""

    shard: NDArray[np.int32]
    """Index of the shard of the data set, in order of file names."""
    row: NDArray[np.int64]
    """Row of the patient in the shard."""
    side: NDArray[np.int8]
    """FIT, TUNE or JUDGE."""
    patient: NDArray[np.uint64]
    """Hash of the patient id."""
    index: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    """First and last day of the history."""
    known: NDArray[np.int64]
    """Last day whose events are known when the prediction is made."""
    opens: NDArray[np.int64]
    """First day of the window."""
    query_day: NDArray[np.int64]
    """The day in the middle of the window."""
    label: NDArray[np.bool_]
    weight: NDArray[np.float64]
    prevalence: float
    """Share of cases among all labels of the training set, before rows were drawn."""

    def __len__(self) -> int:
        return len(self.row)

    def take(self, kept: NDArray[np.integer] | NDArray[np.bool_]) -> "Rows":
        """Return some of the rows."""
        arrays = {name: array[kept] for name, array in vars(self).items() if isinstance(array, np.ndarray)}
        return Rows(**arrays, prevalence=self.prevalence)

    def on(self, side: int) -> NDArray[np.int64]:
        """Return the rows (m,) in a set (FIT, TUNE or JUDGE), as indices."""
        return np.flatnonzero(self.side == side)


def read(folder: Path, definition: Definition, most: int, seed: int) -> Rows:
    """Read the rows of a task from the folder of a `task_labels` artifact, for at most about `most` patients in each set.

    Patients are drawn by a hash of the id that is the same for all tasks, so tasks share histories. In the training set,
    patients with the outcome are drawn first, up to half of all patients drawn.
    """
    parts = [
        _of_shard(number, rows_of_task(table, definition), definition)
        for number, (_, table) in enumerate(shards(folder))
    ]
    names = [name for name in Rows.__annotations__ if name != "prevalence"]
    columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
    fit = columns["side"] == FIT
    weight = columns["weight"][fit]
    share = float((columns["label"][fit] * weight).sum() / weight.sum()) if weight.sum() > 0 else 0.0
    rows = Rows(**columns, prevalence=share)
    kept = np.zeros(len(rows), bool)
    for side in range(len(SIDES)):
        in_set = rows.on(side)
        kept[in_set] = np.isin(rows.patient[in_set], _sampled(rows.take(in_set), most, seed, cases_first=side == FIT))
    return rows.take(kept)


def _sampled(rows: Rows, most: int, seed: int, *, cases_first: bool) -> NDArray[np.uint64]:
    """Return the hashes of at most `most` patients, drawn in order of their hash."""
    patients, place = np.unique(rows.patient, return_inverse=True)
    order = hash_of_numbers(patients ^ hash_of_numbers(np.array([seed], np.uint64))[0])
    ranked = np.argsort(order, kind="stable")
    if cases_first and len(patients) > most:
        case = np.bincount(place, rows.label, len(patients))[ranked] > 0
        first = case & (np.cumsum(case) <= most // 2)
        ranked = np.concatenate([ranked[first], ranked[~first]])
    return patients[ranked[:most]]


def _of_shard(number: int, table: pa.Table, definition: Definition) -> dict[str, NDArray[np.generic]]:
    sides = one_chunk(table.column("side"))
    places = {name: place for place, name in enumerate(SIDES)}
    side = np.array([places.get(name, -1) for name in sides.dictionary.to_pylist()] or [-1], np.int8)[
        sides.indices.to_numpy()
    ]
    days = {name: table.column(name).cast(pa.int32()).fill_null(ALWAYS).to_numpy().astype(np.int64) for name in _DAYS}
    ids = one_chunk(table.column("patient_id"))
    columns = {
        "shard": np.full(len(side), number, np.int32),
        "row": table.column("row").to_numpy().astype(np.int64),
        "side": side,
        "patient": hash_of_column(ids.dictionary)[ids.indices.to_numpy()] if len(ids) else np.zeros(0, np.uint64),
        "index": days["index_date"],
        "first": days["history_from"],
        "last": days["history_until"],
        "known": days["prediction_date"],
        "opens": days["window_from"],
        "query_day": (days["window_from"] + days["window_until"]) // 2,
        "label": table.column("label").to_numpy(zero_copy_only=False),
        "weight": weights(table, definition),
    }
    kept = np.flatnonzero(side >= 0)
    return {name: values[kept] for name, values in columns.items()}


@dataclass(frozen=True)
class People:
    """Data about the patients of some rows (n,), other than their visits."""

    female: NDArray[np.float64]
    """1 for 'F', 0 for 'M', 0.5 for anything else."""
    attributes: dict[str, list[str]]

    @classmethod
    def read(cls, dataset: Sequence[Path], rows: Rows, attributes: Sequence[str]) -> "People":
        """Read the data of the patients of `rows` from the shards of the data set."""
        sex, values_by_name = [], {name: list[str]() for name in attributes}
        for number, path in enumerate(dataset):
            taken = pa.array(rows.row[rows.shard == number])
            table = schemas.read(path, ["sex", *attributes]).take(taken)
            sex += table.column("sex").to_pylist()
            for name in attributes:
                values_by_name[name] += [value or "" for value in table.column(name).to_pylist()]
        return cls(
            np.array([{"F": 1.0, "M": 0.0}.get(value or "", 0.5) for value in sex]),
            {"sex": [s or "" for s in sex], **values_by_name},
        )
