"""`patient_embeddings`: choose the tokens, launch the embedding job, and count who could not be embedded.

The artifact holds `embeddings/`, `half_a/` and `half_b/` (see `embeddings.embed`), `selected.json` (chosen token ids) and
`selected_concepts.csv` (the same for people).
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ehr_pipeline import jobs, schemas
from ehr_pipeline.artifacts import Artifact, Counts
from ehr_pipeline.embeddings import selection
from ehr_pipeline.embeddings.settings import PoolingSettings
from ehr_pipeline.errors import InputError
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary


def build(
    artifacts: dict[str, Artifact],
    concept_of_code: dict[str, str],
    pooling: PoolingSettings,
    job: jobs.Job,
    launch: Callable[[str, jobs.Job], None],
    out: Path,
) -> Counts:
    """Embed the cohort into `out`. Raises InputError when no patient has a chosen concept."""
    vocabulary = Vocabulary.read(artifacts["vocabulary"].path)
    vectors = np.load(artifacts["concept_embeddings"].file("vectors.npy"))
    chosen = selection.select(pooling, vocabulary, vectors, concept_of_code)
    tokens = np.flatnonzero(chosen).tolist()
    (out / "selected.json").write_text(json.dumps(tokens) + "\n", encoding="utf-8")
    with (out / "selected_concepts.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(("token_id", "concept", "name"))
        writer.writerows(
            (token, vocabulary.concepts[token - FIRST_CONCEPT].concept, vocabulary.name(token)) for token in tokens
        )
    cohort = artifacts["cohort"].file("cohort.arrow")
    places: dict[str, Any] = {
        "checkpoint": str(artifacts["encoder_checkpoint"].file("checkpoint")),
        "vocabulary": str(artifacts["vocabulary"].path),
        "dataset": str(artifacts["patient_dataset"].file("patients")),
        "cohort": str(cohort),
        "selected": str(out / "selected.json"),
        "out": str(out),
    }
    launch("ehr_pipeline.embeddings.embed", job | places)
    patients = schemas.read(cohort).num_rows
    embedded = sum(schemas.read(path, ["patient_id"]).num_rows for path in sorted((out / "embeddings").iterdir()))
    if not embedded:
        raise InputError(
            f"None of the {patients:,} cohort patients has a chosen concept. Choose other concepts under [embeddings.pooling]."
        )
    return {
        "rows_in": patients,
        "kept": embedded,
        "dropped": {"no_chosen_concept": patients - embedded},
        "dimensions": int(vectors.shape[1]),
        "pooling": pooling.select,
        "selected_concepts": len(tokens),
    }
