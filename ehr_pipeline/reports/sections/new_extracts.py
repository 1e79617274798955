"""The effects of new extracts: what the encoder was trained on, who was assigned, and the overlap with previous clusters.

Numbers of patients are rounded (`Disclosure.about`), since the page also shows the sizes of clusters. The table of
overlaps compares two pages, which show the sums of its rows and columns. So its rounding steps are as wide as needed to
protect small counts, and both small counts and zeros are blank.
"""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy.optimize import linprog

from ehr_pipeline.clusters.overlap import FILE
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.statements import new_extracts as say
from ehr_pipeline.reports.statements.statement import Statement
from ehr_pipeline.store.artifacts import CONTINUES, Artifact
from ehr_pipeline.tables import json_files
from ehr_pipeline.tables.asset_names import CLUSTERS, ENCODER_CHECKPOINT, PATIENT_DATASET, PATIENT_EMBEDDINGS

Overlap = dict[str, Any]
Cells = NDArray[np.int64]
STEPS = (1, 2, 3, 5, 10)
"""Rounding steps to try for the overlaps, in multiples of the threshold."""


def content(findings: Findings) -> dict[str, Any] | None:
    """Return the sentences and the table; None if the study was made in one go, from all extracts."""
    artifacts = findings.inputs.artifacts
    sentences = statements(artifacts, findings.clusters.table, findings.disclosure)
    overlap = overlap_rows(artifacts[CLUSTERS], findings.disclosure)
    if not sentences and not overlap:
        return None
    return {
        "heading": "New extracts" if sentences else "Compared with the previous clusters",
        "extracts": sentences,
        "overlap": overlap,
        "agreement": overlap and say.overlap(overlap),
        "table_explained": overlap and say.overlap_table(overlap),
    }


def statements(artifacts: dict[str, Artifact], clustered: pa.Table, disclosure: Disclosure) -> list[Statement]:
    """Say which previous results the encoder, the vectors and the clusters continue; nothing if the study was made in one go."""
    encoder, embeddings, clusters = (artifacts[name] for name in (ENCODER_CHECKPOINT, PATIENT_EMBEDDINGS, CLUSTERS))
    trained_on, said = encoder.manifest["inputs"], []
    if trained_on[PATIENT_DATASET] != artifacts[PATIENT_DATASET].data_version:
        said.append(say.earlier_encoder(_share(embeddings.counts["tokens"])))
    if CONTINUES in trained_on:
        said.append(say.continued_encoder(encoder.counts["tokens_added"]))
    if CONTINUES in embeddings.manifest["inputs"]:
        said.append(say.kept_vectors())
    if CONTINUES in clusters.manifest["inputs"]:
        count = sum(clustered.column("assigned").to_pylist())
        said.append(say.assigned(disclosure.about(count) if count else "no"))
    return said


def overlap_rows(clusters: Artifact, disclosure: Disclosure) -> Overlap | None:
    """Return the overlap with the previous clusters as text; None if there were none, or no patient is in both."""
    path = clusters.file(FILE)
    if not path.is_file():
        return None
    found = json_files.read(path)
    table = np.array(found["table"], np.int64)
    rule = _rule(table, disclosure)
    rows = (
        [[rule.about(count) if count >= rule.below else "" for count in row] for row in table.tolist()] if rule else []
    )
    return {
        "patients": disclosure.about(found["patients"]),
        "index": f"{found['adjusted_rand_index']:.2f}",
        "before": found["before"],
        "blank": rule.below if rule else 0,
        "rows": list(zip(found["now"], rows, strict=True)) if rule else [],
    }


def _rule(table: Cells, disclosure: Disclosure) -> Disclosure | None:
    """Return the finest rounding of overlaps (K, L) that is safe although row and column sums are known; None if no rounding is."""
    for step in STEPS if disclosure.below > 1 else STEPS[:1]:
        rule = Disclosure(step * disclosure.below)
        if _safe(table, rule, disclosure):
            return rule
    return None


def _safe(table: Cells, rule: Disclosure, disclosure: Disclosure) -> bool:
    """Return whether each small count of a table (K, L) could be any small count, for a reader who knows all sums."""
    rows, columns = table.shape
    low, high = np.array(
        [rule.around(count) if count >= rule.below else (0, rule.below - 1) for count in table.ravel().tolist()]
    ).T
    cells = np.arange(table.size).reshape(rows, columns)
    sums = np.zeros((rows + columns, table.size))
    for line, own in enumerate([*cells, *cells.T]):
        sums[line, own] = 1
    totals = np.concatenate([table.sum(1), table.sum(0)])
    for cell in np.flatnonzero((table > 0) & (table < disclosure.below)).tolist():
        wanted = np.zeros(table.size)
        wanted[cell] = 1
        ends = [
            linprog(sign * wanted, A_eq=sums, b_eq=totals, bounds=np.stack([low, high], axis=1)).fun for sign in (1, -1)
        ]
        if -ends[1] - ends[0] < disclosure.below - 1.5:  # below - 1 in whole numbers; the solver is not exact
            return False
    return True


def _share(tokens: dict[str, Any]) -> str:
    """Return the share of tokens that were dropped, as text."""
    dropped = tokens["dropped"]["unknown_to_the_encoder"]
    return f"{100 * dropped / max(tokens['rows_in'], 1):.1f} %"
