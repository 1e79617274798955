"""What new extracts did, in words and one table: who trained on what, who was assigned, how clusters overlap with those before.

Numbers of patients are rounded (`Disclosure.about`), since the sizes of clusters stand beside them.
"""

import json
from typing import Any

import pyarrow as pa

from ehr_pipeline.artifacts import Artifact
from ehr_pipeline.clusters import overlap
from ehr_pipeline.continuing import CONTINUES
from ehr_pipeline.reports.disclosure import Disclosure

Overlap = dict[str, Any]


def told(artifacts: dict[str, Artifact], clustered: pa.Table, disclosure: Disclosure) -> list[str]:
    """Sentences on what the model and the clusters went on from; none for a study that was made at once."""
    encoder, embeddings, clusters = (
        artifacts[name] for name in ("encoder_checkpoint", "patient_embeddings", "clusters")
    )
    trained_on, words = encoder.manifest["inputs"], []
    if trained_on["patient_dataset"] != artifacts["patient_dataset"].data_version:
        words.append(
            "The encoder was trained on earlier extracts, and stayed as it was. Tokens of the cohort that it does not know,"
            f" and that have no part in the vectors: {_share(embeddings.counts['tokens'])}."
        )
    if CONTINUES in trained_on:
        added = encoder.counts["tokens_added"]
        words.append(f"The encoder went on from the weights of an earlier one; {added:,} concepts were new to it.")
    if CONTINUES in embeddings.manifest["inputs"]:
        words.append(
            "Patients whose records are as they were kept their vectors; the others were embedded in the same space."
        )
    if CONTINUES in clusters.manifest["inputs"]:
        count = sum(clustered.column("assigned").to_pylist())
        assigned = disclosure.about(count) if count else "no"
        words.append(
            f"The clusters are those of earlier extracts: {assigned} new or changed patients were assigned to them by the vote"
            " of their nearest clustered patients. Stability, and the comparison of methods, are of the clustering itself; the"
            " split-half test, marking concepts and the audit are of all patients of today."
        )
    return words


def shown(clusters: Artifact, disclosure: Disclosure) -> Overlap | None:
    """The overlap with the clusters before, as text; None where there were none, or nobody is in both."""
    path = clusters.file(overlap.FILE)
    if not path.is_file():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    rows = [[disclosure.about(count) if count else "" for count in row] for row in found["table"]]
    return {
        "patients": disclosure.about(found["patients"]),
        "index": f"{found['adjusted_rand_index']:.2f}",
        "before": found["before"],
        "rows": list(zip(found["now"], rows, strict=True)),
    }


def _share(tokens: dict[str, Any]) -> str:
    """The share of tokens that were dropped."""
    dropped = tokens["dropped"]["unknown_to_the_encoder"]
    return f"{100 * dropped / max(tokens['rows_in'], 1):.1f} %"
