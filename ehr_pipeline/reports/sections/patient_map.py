"""The map of patients by cluster."""

from typing import Any

from ehr_pipeline.reports.findings import Findings


def content(findings: Findings) -> dict[str, Any]:
    """The picture; the maps by other attributes stand in the bias audit."""
    return {"picture": findings.maps["cluster"], "reports": findings.settings}
