"""Whether there is evidence of subgroups, in one paragraph, and a warning if the patients are synthetic."""

from typing import Any

from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.sections import truth


def content(findings: Findings) -> dict[str, Any]:
    """Return the verdict of the split-half test, and the attributes, except disease, that the clusters strongly mirror."""
    mirrored = [effect.name for effect in findings.effects if effect.words == "large" and effect.attribute != "disease"]
    return {
        "invented": truth.agreement(findings) is not None,
        "evidence": findings.evidence,
        "standing": findings.standing,
        "mirrored": " and ".join(mirrored),
    }
