"""Let clusters that reappear in a later run keep their numbers.

Clusters of two runs are matched one to one so that the sum of their Jaccard coefficients, over the patients in both runs, is
largest. Two matched clusters count as the same if their coefficient is at least 0.5, that is, if at least half of the patients who
are in one of the two clusters are in both. A cluster without such a match gets the lowest number above all numbers used before.
Without an earlier run, clusters are numbered by descending size.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from ehr_pipeline.clusters.cluster_stability import jaccard
from ehr_pipeline.clusters.methods import Labels
from ehr_pipeline.clusters.table import Clusters
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import align, json_files

FILE = "numbers.json"
SAME = 0.5


def numbers(labels: Labels, ids: pa.Array, earlier: Artifact | None) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Return each cluster's number (clusters,), from 1, and the content of FILE. `labels` (n,) are ordered by descending size."""
    count = int(labels.max()) + 1
    if earlier is None:
        return np.arange(1, count + 1), {"after": "", "kept": {}, "highest": count}
    saved = json_files.read(earlier.file(FILE))
    before = Clusters.read(earlier.path)
    row = align.rows(ids, before.ids)
    known = row >= 0
    names, old = np.unique(before.numbers, return_inverse=True)
    overlap = np.zeros((count, len(names)))
    if known.any():
        earlier_labels = old[row[known]]
        part = jaccard(labels[known], earlier_labels, count)
        overlap[:, : part.shape[1]] = part
    given = np.zeros(count, np.int64)
    kept = {}
    for cluster, earlier_cluster in zip(*linear_sum_assignment(overlap, maximize=True), strict=True):
        if overlap[cluster, earlier_cluster] >= SAME:
            given[cluster] = names[earlier_cluster]
            kept[str(names[earlier_cluster])] = round(float(overlap[cluster, earlier_cluster]), 4)
    new = np.flatnonzero(given == 0)
    given[new] = saved["highest"] + 1 + np.arange(len(new))
    highest = int(max(given.max(), saved["highest"]))
    return given, {"after": earlier.data_version, "kept": kept, "highest": highest}
