"""`cluster_reports`: one self-contained HTML page that a clinician can read, and the tables behind it.

The artifact contains `report.html`, `enrichment.csv` (all concepts of the top lists, with counts: restricted),
`audit.json`, and the pictures under `notes/`; on synthetic extracts also `agreement.json`.
"""

import csv
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.reports import ENRICHMENT, PAGE, page
from ehr_pipeline.reports.effects import Effect
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.reports.sections import truth
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.store.artifacts import Counts
from ehr_pipeline.terminology.semantic_types import TYPE_NAMES
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT

COLUMNS = (
    "cluster",
    "rank",
    "concept",
    "name",
    "semantic_types",
    "over_represented",
    "occurrences",
    "patients",
    "cluster_patients",
    "ratio",  # share of the cluster's occurrences over the share elsewhere
    "lift",  # share of the cluster's patients over the share elsewhere, with its 95 % interval
    "lift_low",
    "lift_high",
    "ln_p",  # for occurrences; natural logarithm
    "ln_q",  # Benjamini-Hochberg value of ln_p
    "ln_p_patients",
)
"""Columns of `enrichment.csv`: one row per cluster and concept that marks it, for notebooks; nothing in it is suppressed."""


def build(inputs: Inputs, settings: ReportsSettings, out: Path) -> Counts:
    """Write the report. Returns counts of patients, clusters, and concepts tested and shown."""
    findings = Findings(inputs, settings, out / "notes")
    (out / PAGE).write_text(page.render(findings), encoding="utf-8")
    if agreement := truth.agreement(findings):
        _write_json(out / "agreement.json", agreement)
    _write_enrichment(out / ENRICHMENT, findings)
    _write_json(out / "audit.json", [_rounded(effect) for effect in findings.effects])
    return {
        "rows_in": len(findings.labels),
        "kept": len(findings.labels),
        "clusters": len(findings.numbers),
        "concepts_tested": len(findings.vocabulary.concepts),
        "concepts_shown": sum(map(len, findings.concept_tables)),
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def _rounded(effect: Effect) -> dict[str, Any]:
    """Return an effect with the rounding of the page: from all its digits, the counts behind it could be computed."""
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(effect).items()}
    return rounded | {"words": effect.words}


def _write_enrichment(path: Path, findings: Findings) -> None:
    """Write the marking concepts of all clusters, most important first."""
    tested, settings = findings.enrichment, findings.settings
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for cluster, number in enumerate(findings.numbers.tolist()):
            for rank, token in enumerate(tested.top(cluster, settings.top_concepts, settings.max_p), start=1):
                concept = findings.vocabulary.concepts[token - FIRST_CONCEPT]
                ratios = (tested.ratio[cluster, token], *tested.lift(cluster, token))
                tests = (table[cluster, token] for table in (tested.log_p, tested.log_q, tested.log_p_patients))
                types = "; ".join(TYPE_NAMES.get(tui, tui) for tui in concept.semantic_types)
                writer.writerow(
                    (
                        number,
                        rank,
                        *map(spreadsheet.text, (concept.concept, concept.name, types)),
                        bool(tested.over[cluster, token]),
                        tested.occurrences[cluster, token],
                        tested.patients[cluster, token],
                        tested.cluster_patients[cluster],
                        *(f"{value:.4g}" for value in ratios),
                        *(f"{value:.6g}" for value in tests),
                    )
                )
