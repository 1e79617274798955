"""The bias audit: what the clusters mirror, as a table (`effects`) and as maps."""

from typing import Any

from ehr_pipeline.reports import effects
from ehr_pipeline.reports.findings import Findings


def content(findings: Findings) -> dict[str, Any]:
    """The effect of each attribute, what a reader must be warned of, and the maps."""
    return {
        "effects": findings.effects,
        "warnings": effects.warnings(findings.effects),
        "bands": effects.BANDS,
        "kinds": findings.kinds,
        "maps": findings.maps,
        "reports": findings.settings,
    }
