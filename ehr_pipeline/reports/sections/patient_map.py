"""The map of patients by cluster."""

from typing import Any

from ehr_pipeline.reports.findings import Findings


def content(findings: Findings) -> dict[str, Any]:
    """Return the picture; the maps by other attributes are in the bias audit."""
    return {"picture": findings.maps["cluster"], "reports": findings.settings}
