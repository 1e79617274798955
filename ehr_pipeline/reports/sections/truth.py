"""Whether the page shows what was planted, on synthetic extracts."""

from typing import Any

import numpy as np

from ehr_pipeline.clusters.planted import read_agreement
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.tables.asset_names import CLUSTERS


def content(findings: Findings) -> dict[str, Any] | None:
    """Return the agreement with the planted groups; None if there is no truth."""
    planted = agreement(findings)
    return planted and {"agreement": planted}


def agreement(findings: Findings) -> dict[str, Any] | None:
    """Return agreement with planted groups, and which companions mark their group's main cluster; None without truth."""
    planted = read_agreement(findings.inputs.artifacts[CLUSTERS].path)
    if planted is None:
        return None
    vocabulary, settings = findings.vocabulary, findings.settings
    planted["recovered"] = []
    for group, cluster in planted["main_cluster"].items():
        label = int(np.searchsorted(findings.numbers, cluster))
        top = set(findings.enrichment.top(label, settings.top_concepts, settings.max_p))
        tokens = [vocabulary.token_of.get(concept) for concept in planted["companions"][group]]
        companions = [("not in the vocabulary" if t is None else vocabulary.name(t), t in top) for t in tokens]
        planted["recovered"].append((group, cluster, companions))
    return planted
