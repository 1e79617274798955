"""The RECORD checklist for studies of routinely collected health data (Benchimol et al. 2015, PLoS Med 12(10): e1001885, table 1).

The template lists the items, each with the place on the page that answers it, or what the authors of a study have to write.
"""

from typing import Any

from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.sections import flow


def content(findings: Findings) -> dict[str, Any]:
    """Return the parts of the answers that differ from run to run."""
    extracts = len(findings.inputs.records)
    return {
        "extracts": f"{extracts} extract{'s' if extracts > 1 else ''}",
        "attributes": ", ".join(effect.name for effect in findings.effects),
        "sides": flow.sides_in_words(findings.counted),
    }
