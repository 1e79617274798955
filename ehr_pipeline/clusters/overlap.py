"""Compare the clusters with the previous artifact's, over the patients in both: contingency table and adjusted Rand index.

`overlap.json` holds exact numbers of patients, like the whole artifact; the report rounds them (`disclosure.suppression`).
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import align

FILE = "overlap.json"


def overlap(ids: pa.Array, numbers: NDArray[np.int64], earlier: Artifact) -> dict[str, Any] | None:
    """Compare the cluster `numbers` (n,) with those in the artifact `earlier`, over the patients in both; None if there are none.

    `table` (rows: `now`, columns: `before`) counts patients by both numbers; the index is that of Hubert and Arabie (1985).
    """
    before = Clusters.read(earlier.path)
    place = align.rows(ids, before.ids)
    both = place >= 0
    if not both.any():
        return None
    earlier_numbers = before.numbers[place[both]]
    now, row = np.unique(numbers[both], return_inverse=True)
    then, column = np.unique(earlier_numbers, return_inverse=True)
    table = np.bincount(row * len(then) + column, minlength=len(now) * len(then)).reshape(len(now), len(then))
    return {
        "with": earlier.data_version,
        "patients": int(both.sum()),
        "adjusted_rand_index": round(float(adjusted_rand_score(earlier_numbers, numbers[both])), 4),
        "now": now.tolist(),
        "before": then.tolist(),
        "table": table.tolist(),
    }
