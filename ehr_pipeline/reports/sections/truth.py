"""On synthetic extracts: whether the page shows what was planted."""

import json
from typing import Any

import numpy as np

from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.tables.asset_names import CLUSTERS


def content(findings: Findings) -> dict[str, Any] | None:
    """Agreement with the planted groups; None without truth."""
    planted = agreement(findings)
    return planted and {"agreement": planted}


def agreement(findings: Findings) -> dict[str, Any] | None:
    """Agreement with the planted groups, and which companions mark their group's main cluster; None without truth."""
    path = findings.inputs.artifacts[CLUSTERS].file("agreement.json")
    if not path.is_file():
        return None
    vocabulary, settings = findings.vocabulary, findings.settings
    planted: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    planted["recovered"] = []
    for group, cluster in planted["main_cluster"].items():
        label = int(np.searchsorted(findings.numbers, cluster))
        top = set(findings.enrichment.top(label, settings.top_concepts, settings.max_p))
        tokens = [vocabulary.token_of.get(concept) for concept in planted["companions"][group]]
        companions = [("not in the vocabulary" if t is None else vocabulary.name(t), t in top) for t in tokens]
        planted["recovered"].append((group, cluster, companions))
    return planted
