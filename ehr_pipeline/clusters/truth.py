"""On synthetic extracts: how well clusters agree with the planted groups, beside the honest baseline."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import adjusted_rand_score, homogeneity_score

from ehr_pipeline.clusters.methods import Labels, cluster

AGREEMENT = "agreement.json"


def read_agreement(folder: Path) -> dict[str, Any] | None:
    """How well the clusters of a `clusters` artifact agree with what was planted; None where nothing was."""
    path = folder / AGREEMENT
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else None


@dataclass(frozen=True)
class PlantedGroups:
    """What `ehr-pipeline synth` planted."""

    group_of: dict[str, str]
    """Group by patient id, for the cohort."""
    companions: dict[str, list[str]]
    """Concepts by group."""

    @classmethod
    def read(cls, folder: Path) -> "PlantedGroups":
        """Read the truth folder of a synthetic extract."""
        with (folder / "patients.csv").open(encoding="utf-8", newline="") as stream:
            group_of = {row["patient_id"]: row["group"] for row in csv.DictReader(stream) if row["group"]}
        companions: dict[str, list[str]] = {}
        with (folder / "groups.csv").open(encoding="utf-8", newline="") as stream:
            for row in csv.DictReader(stream):
                companions.setdefault(row["group"], []).append(row["cui"])
        return cls(group_of, companions)


def agreement(
    truth: PlantedGroups,
    patient_ids: list[str],
    labels: Labels,
    vectors: dict[str, NDArray[np.float32]],
    *,
    method: str,
    neighbours: int,
    seed: int,
) -> dict[str, Any]:
    """Adjusted Rand index with as many clusters as groups, and homogeneity with the clusters of the run, for each set of vectors.

    `vectors` holds the model's embeddings under 'encoder' and others to compare; `labels` are the run's clusters of 'encoder'.
    """
    known = np.array([patient_id in truth.group_of for patient_id in patient_ids])
    groups = np.array([truth.group_of.get(patient_id, "") for patient_id in patient_ids])[known]
    count = len(truth.companions)
    n = int(labels.max()) + 1
    table = {}
    for name, own in vectors.items():
        as_many = cluster(own, method, count, neighbours, seed)
        as_set = labels if name == "encoder" else cluster(own, method, n, neighbours, seed)
        table[name] = {
            "adjusted_rand_index": float(adjusted_rand_score(groups, as_many[known])),
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
        "vectors": table,
        "main_cluster": main,
        "companions": truth.companions,
    }
