"""Whether the page shows what was planted, on synthetic extracts."""

from typing import Any

import numpy as np

from ehr_pipeline.clusters.contributions import Contributions
from ehr_pipeline.clusters.planted import COUNTS, THIS_RUN, read_agreement
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.sections import contributions
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
        "clusters_of_this_run": clusters_of_this_run(planted),
        "by_starts": by_starts(compared) if compared else "",
        "rows": [
            {
                "name": contributions.NAMES[row.name],
                "index": contributions.starts(row.adjusted_rand_index),
                "homogeneity": contributions.starts(row.homogeneity),
            }
            for row in rows
        ],
    }


def clusters_of_this_run(planted: dict[str, Any]) -> str:
    """Return how far the clusters of the page agree with the groups."""
    own, counts = planted["vectors"][THIS_RUN], planted["vectors"][COUNTS]
    return (
        f"The {planted['n']} clusters of this page have a homogeneity of {own['homogeneity']:.3f} (1 where each cluster holds"
        f" patients of one group only, 0 where it says nothing of the group); with {planted['groups']} clusters by the same method,"
        f" the adjusted Rand index is {own['adjusted_rand_index']:.3f}. With concept counts in place of the patient vectors, these"
        f" are {counts['homogeneity']:.3f} and {counts['adjusted_rand_index']:.3f}."
    )


def by_starts(compared: Contributions) -> str:
    """Return how the rows were made."""
    return (
        f"By k-means, for the patients compared under “What makes the patient vectors”: the mean of {compared.starts} random"
        " starts, and the lowest and the highest of them in brackets. Rows whose ranges overlap are not told apart."
    )


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
