"""The bias audit: which attributes the clusters mirror, as a table (`effects`) and as maps."""

from typing import Any

from ehr_pipeline.reports import effects
from ehr_pipeline.reports.findings import Findings


def content(findings: Findings) -> dict[str, Any]:
    """Return the effect of each attribute, the warnings to the reader, and the maps."""
    return {
        "effects": findings.effects,
        "warnings": effects.warnings(findings.effects),
        "bands": effects.BANDS,
        "kinds": findings.kinds,
        "maps": findings.maps,
        "reports": findings.settings,
    }
