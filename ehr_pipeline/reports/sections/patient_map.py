"""The map of patients by cluster."""

from typing import Any

from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.statements import patient_map as say


def content(findings: Findings) -> dict[str, Any]:
    """Return the picture; the maps by other attributes are in the bias audit."""
    fewest = findings.settings.suppress_below
    return {"picture": findings.maps["cluster"], "no_map": say.no_map(fewest), "how_to_read": say.how_to_read(fewest)}
