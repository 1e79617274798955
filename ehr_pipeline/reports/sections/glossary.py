"""The words of the page, explained."""

from typing import Any

from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.statements.glossary import WORDS


def content(findings: Findings) -> dict[str, Any]:
    """Return the words with their meanings."""
    return {"words": WORDS}
