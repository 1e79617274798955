"""Where the patients of the cohort lie in the data set. GPU workers ask it, too: no polars here."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


def rows_of_shard(cohort: pa.Table, shard: str) -> NDArray[np.int64]:
    """Rows of one shard of the data set that belong to the cohort, in order."""
    mine = cohort.filter(pc.equal(cohort.column("shard"), shard))
    return np.sort(mine.column("row").to_numpy().astype(np.int64))
