"""On synthetic extracts: whether the page shows what was planted."""

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.reports import enrichment
from ehr_pipeline.reports.inputs import Inputs, read_json
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables.asset_names import CLUSTERS
from ehr_pipeline.vocabulary.table import Vocabulary


def describe(
    inputs: Inputs,
    numbers: NDArray[np.int64],
    found: enrichment.Enrichment,
    vocabulary: Vocabulary,
    settings: ReportsSettings,
) -> dict[str, Any] | None:
    """Agreement with the planted groups, and which companions mark their group's main cluster; None without truth."""
    path = inputs.artifacts[CLUSTERS].file("agreement.json")
    if not path.is_file():
        return None
    agreement: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    recovered = []
    for group, cluster in agreement["main_cluster"].items():
        label = int(np.searchsorted(numbers, cluster))
        top = set(found.top(label, settings.top_concepts, settings.max_p))
        companions = [(vocabulary.token_of.get(concept, -1)) for concept in agreement["companions"][group]]
        recovered.append(
            (
                group,
                cluster,
                [
                    (vocabulary.name(token) if token >= 0 else "not in the vocabulary", token in top)
                    for token in companions
                ],
            )
        )
    agreement["recovered"] = recovered
    return agreement


def read(report: Artifact) -> dict[str, Any]:
    """Agreement with the planted groups, and which companions mark their group's main cluster, as a report tells it."""
    found: dict[str, Any] = read_json(report, "agreement.json")
    return found
