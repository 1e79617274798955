"""Whether the page shows what was planted, on synthetic extracts."""

from typing import Any

import numpy as np

from ehr_pipeline.clusters.contributions import Contributions
from ehr_pipeline.clusters.planted import read_agreement
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.statements import contributions as say
from ehr_pipeline.tables.asset_names import CLUSTERS


def content(findings: Findings) -> dict[str, Any] | None:
    """Return the agreement with the planted groups; None if there is no truth."""
    planted = agreement(findings)
    if planted is None:
        return None
    compared = Contributions.read(findings.inputs.artifacts[CLUSTERS].path)
    rows = [row for row in compared.rows if row.adjusted_rand_index] if compared else []
    return {
        "agreement": planted,
        "clusters_of_this_run": say.clusters_of_this_run(planted),
        "by_starts": say.by_starts(compared) if compared else "",
        "rows": [
            {
                "name": say.NAMES[row.name],
                "index": say.starts(row.adjusted_rand_index),
                "homogeneity": say.starts(row.homogeneity),
            }
            for row in rows
        ],
    }


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
