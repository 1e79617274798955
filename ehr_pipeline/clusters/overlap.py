"""How clusters overlap with those of the artifact before, over the patients whom both know: contingency and adjusted Rand index.

`overlap.json` holds exact numbers of patients, as the artifact does; the report rounds them (`disclosure.suppression`).
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score

from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas

FILE = "overlap.json"


def overlap(ids: list[str], own: NDArray[np.int64], earlier: Artifact) -> dict[str, Any] | None:
    """The contingency of cluster numbers `own` (n,) of patients with theirs in the earlier artifact; None when they share nobody.

    `table` (rows: `now`, columns: `before`) counts patients by both numbers; the index is that of Hubert and Arabie (1985).
    """
    before = schemas.read(earlier.file("clusters.arrow"), ["patient_id", "cluster"])
    place = pc.index_in(pa.array(ids, pa.string()), value_set=before.column("patient_id").combine_chunks())
    both = place.is_valid().to_numpy(zero_copy_only=False)
    if not both.any():
        return None
    theirs = before.column("cluster").to_numpy()[place.drop_null().to_numpy()]
    now, row = np.unique(own[both], return_inverse=True)
    then, column = np.unique(theirs, return_inverse=True)
    table = np.bincount(row * len(then) + column, minlength=len(now) * len(then)).reshape(len(now), len(then))
    return {
        "with": earlier.data_version,
        "patients": int(both.sum()),
        "adjusted_rand_index": round(float(adjusted_rand_score(theirs, own[both])), 4),
        "now": now.tolist(),
        "before": then.tolist(),
        "table": table.tolist(),
    }
