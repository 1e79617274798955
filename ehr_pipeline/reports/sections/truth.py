"""For synthetic extracts: how far the page agrees with the planted groups."""

from typing import Any

import numpy as np

from ehr_pipeline.clusters.contributions import Contributions
from ehr_pipeline.clusters.planted import read_agreement
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.statements import contributions as say
from ehr_pipeline.reports.statements import marker_concepts
from ehr_pipeline.tables.asset_names import CLUSTERS


def content(findings: Findings) -> dict[str, Any] | None:
    """Return the agreement with the planted groups; None if there is no truth, or if no group is planted."""
    planted = agreement(findings)
    if not planted or not planted["groups"]:
        return None
    compared = Contributions.read(findings.inputs.artifacts[CLUSTERS].path)
    rows = [row for row in compared.rows if row.adjusted_rand_index] if compared else []
    return {
        "agreement": planted,
        "clusters_of_this_run": say.clusters_of_this_run(planted, findings.disclosure.about(planted["patients"])),
        "companions_told": marker_concepts.companions(planted["own"], planted["others"]),
        "by_starts": say.by_starts(compared) if compared else "",
        "rows": [
            {
                "name": say.NAMES[row.name],
                "index": say.starts(row.adjusted_rand_index),
                "within": say.starts(row.within_diseases),
                "homogeneity": say.starts(row.homogeneity),
            }
            for row in rows
        ],
    }


def agreement(findings: Findings) -> dict[str, Any] | None:
    """Return agreement with planted groups, and which companions mark their group's main cluster; None without truth, and
    {'groups': 0} if no group is planted.

    A companion marks a cluster if it is over-represented in it. `own` counts the companions that mark the main cluster of their
    group. `others` counts, for each main cluster, the companions that mark it but belong only to groups with a different main
    cluster. Each is followed by how many companions could have counted, being in the vocabulary.
    """
    planted = read_agreement(findings.inputs.artifacts[CLUSTERS].path)
    if not planted or not planted["groups"]:
        return planted
    vocabulary = findings.vocabulary
    tokens = {
        group: [vocabulary.token_of.get(concept) for concept in concepts]
        for group, concepts in planted["companions"].items()
    }
    planted |= {"recovered": [], "own": [0, 0], "others": [0, 0]}
    for group, cluster in planted["main_cluster"].items():
        marking = _marking(findings, cluster)
        own = {token for token in tokens[group] if token is not None}
        elsewhere = [tokens[name] for name, other in planted["main_cluster"].items() if other != cluster]
        others = {token for some in elsewhere for token in some if token is not None} - own
        for name, companions in (("own", own), ("others", others)):
            planted[name] = [planted[name][0] + len(companions & marking), planted[name][1] + len(companions)]
        named = [("not in the vocabulary" if t is None else vocabulary.name(t), t in marking) for t in tokens[group]]
        planted["recovered"].append((group, cluster, named))
    return planted


def _marking(findings: Findings, number: int) -> set[int]:
    """Return the token ids that the page's ranking lists as over-represented in a cluster."""
    label = int(np.searchsorted(findings.numbers, number))
    if findings.is_tested:
        return set(findings.marks.ranked(number, more=True))
    return {token for token in findings.ranking.tokens[label] if findings.ranking.over[label, token]}
