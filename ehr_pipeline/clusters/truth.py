"""On synthetic extracts: agreement of the clusters with the planted groups, compared with the baseline without a model."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score, homogeneity_score

from ehr_pipeline.clusters.methods import Labels, cluster
from ehr_pipeline.clusters.planted import PlantedGroups


def within_diseases(groups: NDArray[Any], diseases: NDArray[Any], labels: Labels) -> float:
    """Return the mean adjusted Rand index within each disease that has several groups; 0 if none has. All arrays are (n,).

    If each group belongs to one disease, clusters that only repeat the diseases have a high index over all patients. Within a
    disease they have an index of 0.
    """
    of_each = [diseases == disease for disease in np.unique(diseases)]
    indices = [
        adjusted_rand_score(groups[members], labels[members])
        for members in of_each
        if len(np.unique(groups[members])) > 1
    ]
    return float(np.mean(indices)) if indices else 0.0


def agreement(
    truth: PlantedGroups,
    patient_ids: list[str],
    diseases: NDArray[Any],
    labels: Labels,
    vectors: dict[str, NDArray[np.float32]],
    *,
    method: str,
    neighbours: int,
    seed: int,
) -> dict[str, Any]:
    """Return how well clusters of each set of vectors agree with the planted groups.

    The adjusted Rand index, over all patients and within `diseases` (n,), is that of as many clusters as there are groups. The
    homogeneity is that of as many clusters as this run has. `disease` in the result is the index of the diseases themselves.
    The first of `vectors` are this run's patient vectors, from which `labels` were made; the others are for comparison.
    """
    known = np.array([patient_id in truth.group_of for patient_id in patient_ids])
    groups = np.array([truth.group_of.get(patient_id, "") for patient_id in patient_ids])[known]
    count = len(truth.companions)
    n = int(labels.max()) + 1
    table = {}
    for name, space in vectors.items():
        as_many = cluster(space, method, count, neighbours, seed)
        as_set = labels if name == next(iter(vectors)) else cluster(space, method, n, neighbours, seed)
        table[name] = {
            "adjusted_rand_index": float(adjusted_rand_score(groups, as_many[known])),
            "within_diseases": within_diseases(groups, diseases[known], as_many[known]),
            "homogeneity": float(homogeneity_score(groups, as_set[known])),
        }
    main = {
        group: int(np.bincount(labels[known][groups == group]).argmax())
        for group in truth.companions
        if (groups == group).any()
    }
    return {
        "groups": count,
        "n": n,
        "patients": int(known.sum()),
        "disease": float(adjusted_rand_score(groups, diseases[known])),
        "vectors": table,
        "main_cluster": main,
        "companions": truth.companions,
    }
