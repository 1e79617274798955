"""Read and write the cohort, as later stages use it. GPU workers import this module, so it does not use polars."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.tables import align, schemas

LISTS = "notes/lists.csv"
"""The rows of the lists and their concepts. They do not determine who is in the cohort, so renaming a row makes nothing stale."""
CASES = "notes/cases.arrow"
"""How much is recorded of each patient with one of the diseases, whether or not they are in the data set: `schemas.CASES`."""
_FILE = "cohort.arrow"
_NOBODY = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Cohort:
    """The patients, and their places in the data set: `schemas.COHORT`, mapped into memory."""

    table: pa.Table

    @classmethod
    def read(cls, folder: Path) -> "Cohort":
        """Read the folder of a `cohort` artifact, or one that `write` has written. Raises Damaged for anything else."""
        return cls(schemas.read_as(folder / _FILE, schemas.COHORT))

    def write(self, folder: Path) -> None:
        """Write the cohort to a folder that `read` can read."""
        schemas.write(folder / _FILE, self.table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def ids(self) -> pa.Array:
        """Patient ids (n,)."""
        return align.one_chunk(self.table.column("patient_id"))

    def rows(self, shard: str) -> NDArray[np.int64]:
        """Return the rows of one shard of the data set (given by file name) that belong to the cohort, in ascending order."""
        return self._rows.get(shard, _NOBODY)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Return the positions (n,) of the patients in this table, in the order of the data set (by shard and row)."""
        keys = [("shard", "ascending"), ("row", "ascending")]
        order: NDArray[np.int64] = pc.sort_indices(self.table, sort_keys=keys).to_numpy().astype(np.int64)
        return order

    @cached_property
    def _rows(self) -> dict[str, NDArray[np.int64]]:
        ordered = self.table.select(["shard", "row"]).take(pa.array(self.order))
        shards = align.one_chunk(ordered.column("shard")).dictionary_encode()
        rows, names = ordered.column("row").to_numpy().astype(np.int64), shards.dictionary.to_pylist()
        ends = np.cumsum(np.bincount(shards.indices.to_numpy(), minlength=len(names)))
        return dict(zip(names, np.split(rows, ends)[: len(names)], strict=True))

    def of(self, ids: pa.Array) -> "Cohort":
        """Return the patients `ids`, in that order. Raises UserError for a patient who is not in the cohort."""
        return Cohort(self.table.take(pa.array(align.every_row(ids, self.ids))))

    def among(self, ids: pa.Array) -> "Cohort":
        """Return the patients of the cohort who are among `ids`, in the order of the cohort."""
        return Cohort(self.table.filter(pc.is_in(self.ids, value_set=align.one_chunk(ids))).combine_chunks())


def read_lists(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of all concept lists of a `cohort` artifact: `schemas.LISTS`."""
    return list(spreadsheet.read(folder / LISTS, schemas.LISTS))
