"""Whether there is evidence of subgroups, in one paragraph, and a warning if the patients are synthetic."""

from typing import Any

from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.sections import truth
from ehr_pipeline.reports.statements import verdict


def content(findings: Findings) -> dict[str, Any]:
    """Return the verdict of the split-half test, with the attributes, except disease, that the clusters strongly mirror."""
    mirrored = [effect.name for effect in findings.effects if effect.words == "large" and effect.attribute != "disease"]
    evidence, standing = findings.evidence, findings.standing
    return {
        "invented": verdict.invented() if truth.agreement(findings) else None,
        "colour": verdict.colour(evidence, standing),
        "verdict": verdict.banner(evidence, standing, mirrored),
    }
