"""Whether there is evidence of subgroups, in one paragraph, and a warning if the patients are synthetic."""

from typing import Any

from ehr_pipeline.reports import effects
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.sections import alternatives, truth
from ehr_pipeline.reports.statements import verdict


def content(findings: Findings) -> dict[str, Any]:
    """Return the verdicts, with the attributes, except disease, that the clusters mirror (`effects.in_banner`)."""
    mirrored = [effect.name for effect in findings.effects if effects.in_banner(effect)]
    evidence, standing = findings.evidence, findings.standing
    return {
        "invented": verdict.invented() if truth.agreement(findings) else None,
        "colour": verdict.colour(evidence, standing),
        "verdict": verdict.banner(evidence, standing, mirrored)
        if len(findings.numbers) > 1
        else verdict.undivided(tried=alternatives.most_tried(findings)),
    }
