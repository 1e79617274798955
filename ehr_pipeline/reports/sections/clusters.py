"""The list of clusters, how to read their cards, and the cards."""

from typing import Any

from ehr_pipeline.reports import likeness
from ehr_pipeline.reports.findings import Findings


def content(findings: Findings) -> dict[str, Any]:
    """Return the cards (`Findings.cards`), and groups of clusters that are alike."""
    return {
        "clusters": findings.cards,
        "alike": likeness.alike_of_one_disease(findings.cards),
        "evidence": findings.evidence,
        "reports": findings.settings,
    }
