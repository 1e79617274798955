"""Make `prediction_report`: one self-contained HTML page, and its first sentences for the model card."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.forecasts.table import Forecasts, empty
from ehr_pipeline.prediction_report import HEAD, PAGE, next_concepts, page, sections
from ehr_pipeline.prediction_report.findings import Findings
from ehr_pipeline.predictions.table import TaskResults
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables.asset_names import ENCODER_CHECKPOINT, FORECASTS, TASK_LABELS, TASK_RESULTS, VOCABULARY
from ehr_pipeline.tasks import names
from ehr_pipeline.tasks.table import definitions
from ehr_pipeline.vocabulary.table import Concept, Vocabulary


def build(artifacts: Mapping[str, Artifact], naming: Naming, study: str, terms: Mapping[str, str], out: Path) -> Counts:
    """Write the page and its first sentences, and return the number of tasks. Without tasks, no page is written."""
    labels, vocabulary = artifacts[TASK_LABELS], Vocabulary.read(artifacts[VOCABULARY].path)
    shown, may = names.names(vocabulary, naming), vocabulary.nameable(naming)
    concepts = {one.concept: one.name for one in sorted(vocabulary.concepts, key=_frequent) if one.concept in may}
    results, tasks = TaskResults.read(artifacts[TASK_RESULTS].path), definitions(labels.path)
    results = replace(
        results, verdicts=tuple({**row, "name": shown.get(row["name"], row["name"])} for row in results.verdicts)
    )
    encoders = {artifacts[name].manifest["inputs"][ENCODER_CHECKPOINT] for name in (FORECASTS, TASK_RESULTS)}
    forecasts = Forecasts.read(artifacts[FORECASTS].path) if len(encoders) == 1 else empty()
    how = labels.manifest.get("settings", {})
    until, shifted = how.get("observed_until", "last_event"), bool(how.get("shifted_dates"))
    draws = artifacts[TASK_RESULTS].manifest.get("settings", {}).get("bootstrap", Findings.draws)
    findings = Findings(
        results, tasks, labels.counts, naming, study, terms, out / "notes", forecasts, until, draws, concepts, shifted
    )
    if tasks:
        (out / PAGE).write_text(page.render(findings), encoding="utf-8")
    head = [*(sections.head(findings) if tasks else ()), *next_concepts.head(forecasts, findings.disclosure)]
    (out / HEAD).write_text(
        json.dumps([str(statement) for statement in head], indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    return {"tasks": len(tasks)}


def _frequent(concept: Concept) -> tuple[int, str]:
    """Sort the most frequent concepts first."""
    return -concept.patients, concept.concept
