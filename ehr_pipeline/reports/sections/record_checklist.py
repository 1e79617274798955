"""The RECORD checklist for studies of routinely collected health data, each item with its answer."""

from typing import Any

from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.sections import flow
from ehr_pipeline.reports.statements import record_checklist as say


def content(findings: Findings) -> dict[str, Any]:
    """Return the items with their answers, parts of which differ from run to run."""
    attributes = [effect.name for effect in findings.effects]
    sides = flow.sides_in_words(findings.counted)
    return {"purpose": say.purpose(), "items": list(say.items(len(findings.inputs.records), attributes, sides))}
