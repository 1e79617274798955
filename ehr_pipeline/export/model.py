"""Export a trained encoder as a folder to share: weights, configuration, tokenizer, the names of its tokens, and the model card.

The folder stays as restricted as the records, since weights can reveal what they were trained on. The export is refused if the
vocabulary alone could reveal patients: a concept that very few patients have reveals those patients, and a concept that no patient
has any more reveals patients who left.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from ehr_pipeline.errors import UserError
from ehr_pipeline.prediction_report import HEAD
from ehr_pipeline.store import publishing
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.tables import json_files
from ehr_pipeline.tables.asset_names import ENCODER_CHECKPOINT, PATIENT_EMBEDDINGS, PREDICTION_REPORT, TASK_RESULTS
from ehr_pipeline.vocabulary.table import Vocabulary

PREDICTS, ADDS = "What it predicts", "What it adds to patient vectors"
"""Headings of the model card: `predictions_of`, `contribution_of`."""


def export(
    checkpoint: Artifact, vocabulary: Artifact, fewest: int, out: Path, says: Mapping[str, Sequence[str]] | None = None
) -> int:
    """Copy the checkpoint to a new folder, whole or not at all. Return the number of its concepts.

    `says` adds sentences to the model card, by heading (see PREDICTS and ADDS). `vocabulary` is the current one, which counts
    today's patients. Raises UserError if the folder exists, or if a concept of the checkpoint has fewer than `fewest` patients.
    """
    publishing.refuse_existing(out)
    concepts = {concept.concept for concept in Vocabulary.read(checkpoint.file("checkpoint")).concepts}
    few = len(concepts - Vocabulary.read(vocabulary.path).of_patients(fewest))
    if few:
        raise UserError(
            f"This model cannot be exported: its vocabulary contains {few:,} concepts of fewer than {fewest} patients"
            f" (reports.suppress_below), and so reveals something about them. Set vocabulary.min_patients to {fewest} or more,"
            " but not to its present value, then rebuild vocabulary and everything after it (ehr-pipeline run)."
        )
    with publishing.whole(out) as part:
        shutil.copytree(checkpoint.file("checkpoint"), part)
        card = part / "README.md"
        for heading, sentences in (says or {}).items():
            if sentences:
                text = card.read_text(encoding="utf-8").rstrip()
                card.write_text(f"{text}\n\n## {heading}\n\n{' '.join(sentences)}\n", encoding="utf-8")
    return len(concepts)


def contribution_of(store: Store, checkpoint: Artifact) -> list[str]:
    """Return sentences on what the encoder adds to the patient vectors, if these were made with this checkpoint."""
    from ehr_pipeline.embeddings.encoder_share import ChosenShare
    from ehr_pipeline.reports.statements import contributions, methods

    if not store.has(PATIENT_EMBEDDINGS):
        return []
    embeddings = store.intact(PATIENT_EMBEDDINGS)
    if embeddings.manifest["inputs"][ENCODER_CHECKPOINT] != checkpoint.data_version:
        return []
    said = (contributions.share(ChosenShare.of(embeddings)), methods.space(embeddings.counts["quality"]["space"]))
    return [str(statement) for statement in said if statement]


def predictions_of(store: Store, checkpoint: Artifact) -> list[str]:
    """Return the first sentences of the page of predictions, if it was made with this checkpoint; otherwise none."""
    if not (store.has(PREDICTION_REPORT) and store.has(TASK_RESULTS)):
        return []
    page, results = store.intact(PREDICTION_REPORT), store.intact(TASK_RESULTS)
    of_results = page.manifest["inputs"][TASK_RESULTS] == results.data_version
    if not of_results or results.manifest["inputs"][ENCODER_CHECKPOINT] != checkpoint.data_version:
        return []
    found: list[str] = json_files.read(page.file(HEAD))
    return found
