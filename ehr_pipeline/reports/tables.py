"""The tables behind the page, for notebooks: restricted, since nothing in them is suppressed.

`enrichment.csv`: one row for each marking concept of each cluster, with its rank, counts, tests and lift.
"""

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.reports.enrichment import Enrichment
from ehr_pipeline.reports.settings import ReportsSettings
from ehr_pipeline.terminology.semantic_types import TYPE_NAMES
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

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
    "ratio",  # of the shares of occurrences, here over elsewhere
    "lift",  # the same of patients, with its interval of 95 %
    "lift_low",
    "lift_high",
    "ln_p",  # of occurrences; natural logarithms
    "ln_q",  # Benjamini and Hochberg's value of it
    "ln_p_patients",
)


def write_enrichment(
    path: Path, numbers: NDArray[np.int64], found: Enrichment, vocabulary: Vocabulary, settings: ReportsSettings
) -> None:
    """Write the marking concepts of all clusters, whose `numbers` (K,) they are told by, most important first."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for cluster in range(len(found.cluster_patients)):
            for rank, token in enumerate(found.top(cluster, settings.top_concepts, settings.max_p), start=1):
                concept = vocabulary.concepts[token - FIRST_CONCEPT]
                ratios = (found.ratio[cluster, token], *found.lift(cluster, token))
                tests = (table[cluster, token] for table in (found.log_p, found.log_q, found.log_p_patients))
                writer.writerow(
                    (
                        numbers[cluster],
                        rank,
                        spreadsheet.text(concept.concept),
                        spreadsheet.text(concept.name),
                        spreadsheet.text("; ".join(TYPE_NAMES.get(tui, tui) for tui in concept.semantic_types)),
                        bool(found.over[cluster, token]),
                        found.occurrences[cluster, token],
                        found.patients[cluster, token],
                        found.cluster_patients[cluster],
                        *(f"{value:.4g}" for value in ratios),
                        *(f"{value:.6g}" for value in tests),
                    )
                )
