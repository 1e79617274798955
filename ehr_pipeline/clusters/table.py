"""Read and write the table of clustered patients that later stages use."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.tables import align, schemas

_FILE = "clusters.arrow"
_COLUMNS = pa.schema([("patient_id", pa.string()), ("cluster", pa.int32())])
"""Columns that artifacts of all versions have. `schemas.clusters` has the full list."""


@dataclass(frozen=True)
class Clusters:
    """One row for each clustered patient, `schemas.clusters`, mapped into memory. Axis: n patients."""

    table: pa.Table

    @classmethod
    def read(cls, folder: Path) -> "Clusters":
        """Read the folder of a `clusters` artifact. Raises Damaged when the table is not valid."""
        return cls(schemas.read_as(folder / _FILE, _COLUMNS))

    def write(self, folder: Path) -> None:
        """Write the table to a folder that `read` can read."""
        schemas.write(folder / _FILE, self.table)

    @property
    def ids(self) -> pa.Array:
        """Patient ids (n,)."""
        return align.one_chunk(self.table.column("patient_id"))

    @cached_property
    def numbers(self) -> NDArray[np.int64]:
        """Cluster number of each patient (n,), from 1."""
        numbers_: NDArray[np.int64] = self.table.column("cluster").to_numpy().astype(np.int64)
        return numbers_

    @property
    def points(self) -> NDArray[np.float32]:
        """Places on the map (n, 2)."""
        return np.stack([self.table.column(name).to_numpy() for name in "xy"], axis=1)

    def of(self, ids: pa.Array) -> "Clusters":
        """Return the rows of the patients `ids`, in that order. Raises UserError for a patient who is not clustered."""
        return Clusters(self.table.take(pa.array(align.every_row(ids, self.ids))))
