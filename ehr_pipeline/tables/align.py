"""Align tables by patient: find the rows of one for the patients of another. All artifacts are aligned by these functions."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.errors import UserError


def rows(ids: pa.Array | pa.ChunkedArray, among: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the row in `among` of each patient id (n,), or -1."""
    place = pc.index_in(one_chunk(ids), value_set=one_chunk(among))
    index: NDArray[np.int64] = place.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return index


def every_row(ids: pa.Array | pa.ChunkedArray, among: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Like `rows`, but raise UserError if a patient is not in `among`: then the artifacts do not belong together."""
    index = rows(ids, among)
    if (index < 0).any():
        raise UserError(
            "Two artifacts contain different patients, so one was not built from the other. Rebuild the stale assets"
            " (ehr-pipeline run)."
        )
    return index


def one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, without a copy if it already is one."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
