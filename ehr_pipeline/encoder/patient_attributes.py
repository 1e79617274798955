"""Read attributes of patients, which losses compare or predict. They never become inputs of the encoder.

Axes: P patients of a data set, numbered as in `Sequences.numbers`.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.disclosure.figures import FEWEST
from ehr_pipeline.encoder.settings import BIRTH_DECADE
from ehr_pipeline.tables import schemas

UNKNOWN = -1


@dataclass(frozen=True)
class Traits:
    """Values of attributes, by name. A value that fewer than FEWEST training patients have counts as unknown."""

    values: dict[str, NDArray[np.int16]] = field(default_factory=dict)
    """The index of each patient's value (P,) among the values in alphabetical order; UNKNOWN for a patient without a value."""
    counts: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    """For each attribute, the number of training patients with each value."""

    @classmethod
    def read(cls, dataset: Path, split: Path, names: Iterable[str]) -> "Traits":
        """Read columns of the patient data set, in two bytes per patient and column."""
        paths = sorted(dataset.glob("[!.]*.arrow"))
        sides = [
            schemas.read(split / path.name, ["side"]).column("side").to_numpy() == "train" for path in paths
        ]  # one flag per patient
        values, counts = {}, {}
        for name in names:
            columns = [_column(path, name) for path in paths]
            patients: Counter[str] = Counter()
            for column, trained in zip(columns, sides, strict=True):
                for each in pc.value_counts(column.filter(pa.array(trained))).to_pylist():
                    patients[each["values"] or ""] += each["counts"]
            kept = sorted(value for value, count in patients.items() if value and count >= FEWEST)
            values[name] = np.concatenate([_numbers(column, kept) for column in columns] or [np.zeros(0, np.int16)])
            counts[name] = np.array([patients[value] for value in kept], np.int64)
        return cls(values, counts)

    def of(self, name: str, patients: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the values of `patients` (`Sequences.numbers`). The value is UNKNOWN where there is no patient (-1), and for an
        attribute that was not read."""
        if name not in self.values:
            return np.full(patients.shape, UNKNOWN, np.int64)
        return np.where(patients >= 0, self.values[name][patients], UNKNOWN).astype(np.int64)


def _column(path: Path, name: str) -> pa.ChunkedArray:
    """Return an attribute of the patients of a shard as text."""
    if name != BIRTH_DECADE:
        return schemas.read(path, [name]).column(name).cast(pa.string())
    years = pc.year(schemas.read(path, ["birth_date"]).column("birth_date"))
    return pc.multiply(pc.floor(pc.divide(pc.cast(years, pa.float64()), 10.0)), 10.0).cast(pa.int64()).cast(pa.string())


def _numbers(column: pa.ChunkedArray, kept: list[str]) -> NDArray[np.int16]:
    indices = pc.fill_null(pc.index_in(column, pa.array(kept, pa.string())), UNKNOWN)
    numbers: NDArray[np.int16] = indices.to_numpy().astype(np.int16)
    return numbers
