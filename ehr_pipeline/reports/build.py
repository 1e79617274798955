"""`cluster_reports`: one self-contained HTML page that a clinician can read, and the tables behind it.

The artifact contains `report.html`, `enrichment.csv` (all concepts of the top lists, with counts: restricted), `audit.json`, and
pictures under `notes/`. For a publication, it contains the drawings of the page (`figures/`) and a table of who is in each cluster
(`table_1.csv`). On synthetic extracts, it also contains `agreement.json`.
"""

import csv
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ehr_pipeline.clusters.marker_concepts import Marks
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.reports import ENRICHMENT, PAGE, page, publication_figures
from ehr_pipeline.reports.bias_audit import Effect
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.reports.sections import truth
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.store.artifacts import Counts
from ehr_pipeline.tables import json_files
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
    "mark",  # 'more' or 'less' where the concept passes the mark test
    "deviate_mark_test",  # its normal deviate; empty where the concept was not tested
    "ln_p_mark_test",
    "ln_q_mark_test",
)
"""Columns of `enrichment.csv`, for notebooks; nothing in it is suppressed.

One row for each cluster and concept of the published ranking, in its order, and then for each other concept that passes the
mark test, without a rank.
"""


def build(inputs: Inputs, settings: ReportsSettings, out: Path) -> Counts:
    """Write the report. Returns counts of patients, clusters, and concepts tested and shown."""
    findings = Findings(inputs, settings, out / "notes")
    (out / PAGE).write_text(page.render(findings), encoding="utf-8")
    if agreement := truth.agreement(findings):
        json_files.write(out / "agreement.json", agreement)
    _write_enrichment(out / ENRICHMENT, findings)
    publication_figures.write(findings, out)
    json_files.write(out / "audit.json", [_rounded(effect) for effect in findings.effects])
    return {
        "rows_in": len(findings.labels),
        "kept": len(findings.labels),
        "clusters": len(findings.numbers),
        "concepts_tested": len(findings.vocabulary.concepts),
        "concepts_shown": sum(map(len, findings.concept_tables)),
    }


def _rounded(effect: Effect) -> dict[str, Any]:
    """Return an effect rounded as on the page: from more digits, the counts behind it could be computed."""
    rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(effect).items()}
    return rounded | {"words": effect.words}


def _write_enrichment(path: Path, findings: Findings) -> None:
    """Write the concepts of the published ranking and those that pass the mark test."""
    rules, marks = findings.settings, findings.marks
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for cluster, number in enumerate(findings.numbers.tolist()):
            top = findings.enrichment.top(cluster, rules.top_concepts, rules.max_p)
            passed = {token: word for word in ("more", "less") for token in marks.ranked(number, more=word == "more")}
            for place, token in enumerate([*top, *(token for token in passed if token not in top)]):
                rank = place + 1 if place < len(top) else ""
                mark_test = (passed.get(token, ""), *_mark_test(marks, number, token))
                writer.writerow((number, rank, *_row(findings, cluster, token), *mark_test))


def _row(findings: Findings, cluster: int, token: int) -> Iterator[Any]:
    """Yield the values of the columns from `concept` to `ln_p_patients`, for a cluster and a concept."""
    tested, concept = findings.enrichment, findings.vocabulary.concepts[token - FIRST_CONCEPT]
    types = "; ".join(TYPE_NAMES.get(tui, tui) for tui in concept.semantic_types)
    yield from map(spreadsheet.text, (concept.concept, concept.name, types))
    yield bool(tested.over[cluster, token])
    yield from (tested.occurrences[cluster, token], tested.patients[cluster, token], tested.cluster_patients[cluster])
    yield from (f"{value:.4g}" for value in (tested.ratio[cluster, token], *tested.lift(cluster, token)))
    yield from (f"{table[cluster, token]:.6g}" for table in (tested.log_p, tested.log_q, tested.log_p_patients))


def _mark_test(marks: Marks, number: int, token: int) -> tuple[str, ...]:
    """Return deviate, ln p and ln q of a cluster and a concept; empty texts where it was not tested."""
    place = np.flatnonzero(marks.numbers == number), np.flatnonzero(marks.tokens == token)
    values = [table[place] for table in (marks.deviate, marks.log_p, marks.log_q)]
    return tuple(f"{value[0]:.6g}" if value.size else "" for value in values)
