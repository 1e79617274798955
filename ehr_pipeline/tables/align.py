"""Find the rows of one table that belong to the patients of another. All artifacts are aligned by these functions."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.errors import UserError


def rows(ids: pa.Array | pa.ChunkedArray, among: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Return the row in `among` of each patient id (n,); -1 for a patient who is not in it."""
    place = pc.index_in(one_chunk(ids), value_set=one_chunk(among))
    found: NDArray[np.int64] = place.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def every_row(ids: pa.Array | pa.ChunkedArray, among: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Do as `rows`, but raise UserError if a patient is not in `among`: the artifacts then do not belong together."""
    found = rows(ids, among)
    if (found < 0).any():
        raise UserError(
            "Two artifacts hold different patients, so they were not made of each other. Make the assets again that are stale"
            " (ehr-pipeline run)."
        )
    return found


def one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a column as one array, which shares the column's memory if that is a single array already."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
