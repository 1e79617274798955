"""`prediction_report`: one self-contained HTML page, and its first sentences for the model card."""

import json
from collections.abc import Mapping
from pathlib import Path

from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.prediction_report import HEAD, PAGE, page, sections
from ehr_pipeline.prediction_report.findings import Findings
from ehr_pipeline.predictions.table import TaskResults
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables.asset_names import TASK_LABELS, TASK_RESULTS
from ehr_pipeline.tasks.table import definitions


def build(artifacts: Mapping[str, Artifact], naming: Naming, study: str, terms: Mapping[str, str], out: Path) -> Counts:
    """Write the page and its first sentences. Returns how many tasks it has. Without tasks, there is no page."""
    labels = artifacts[TASK_LABELS]
    results, tasks = TaskResults.read(artifacts[TASK_RESULTS].path), definitions(labels.path)
    findings = Findings(results, tasks, labels.counts, naming, study, terms, out / "notes")
    if tasks:
        (out / PAGE).write_text(page.render(findings), encoding="utf-8")
    head = [str(statement) for statement in sections.head(findings)] if tasks else []
    (out / HEAD).write_text(json.dumps(head, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return {"tasks": len(tasks)}
