"""Checks of the encoder, its concept vectors and the patient vectors."""

from typing import Any

import numpy as np

from ehr_pipeline.checks.model import UNEXPECTED, Result, check
from ehr_pipeline.concepts.table import read_vectors
from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.disclosure.kinds import People, Plain, Score
from ehr_pipeline.encoder import configuration
from ehr_pipeline.encoder.metrics import of_concepts
from ehr_pipeline.encoder.metrics import read as read_metrics
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import VOCABULARY
from ehr_pipeline.vocabulary.table import Vocabulary


@check()
def better_than_frequency(artifact: Artifact, store: Store, study: Study) -> Result:
    """The validation loss is finite, and lower than that of predicting each concept by its frequency."""
    metrics = read_metrics(artifact.path)
    loss, baseline = of_concepts(metrics)
    passed = bool(np.isfinite(loss) and loss < baseline)
    message = f"validation loss {loss:.3f}; predicting by frequency alone: {baseline:.3f}"
    if "transfer" in metrics:
        message += (
            f"; {metrics['transfer']['share_of_events']:.1%} of events have concepts that are not in the vocabulary of the other"
            " study"
        )
    if not passed:
        message += f". {_what_to_do(metrics)}"
    return passed, message, {"validation_loss": Score(loss), "baseline_loss": Score(baseline)}


def _what_to_do(metrics: dict[str, Any]) -> str:
    """Return advice for a failed check."""
    if not metrics["epochs"][-1]["updates"]:
        return (
            "The encoder comes from another study and was not trained further. Train it here (encoder.transfer.use = 'tuned'), or"
            " map the codes of this study to concepts in the vocabulary of the other study."
        )
    epochs, updates = len(metrics["epochs"]), metrics["epochs"][-1]["updates"]
    more = f"raise encoder.{'patience' if metrics['stopped_early'] else 'max_epochs'}, or lower encoder.tokens_per_step"
    return (
        f"Training made {updates:,} updates in {epochs:,} epoch{'s' if epochs > 1 else ''}. Allow more updates ({more}), or lower"
        " encoder.learning_rate. With hundreds of patients, set encoder.preset to 'small'."
    )


@check()
def vocabulary_fits(artifact: Artifact, store: Store, study: Study) -> Result:
    """The checkpoint was trained with the current vocabulary, or with an earlier one that has since only been extended."""
    vocabulary = Vocabulary.read(store.intact(VOCABULARY).path)
    config = configuration.read(artifact.file("checkpoint"))
    found, known = config["vocabulary_hash"], vocabulary.first(config["vocab_size"])
    message = f"trained with vocabulary {found}; the current one is {vocabulary.hash}"
    if found != known.hash:
        message += ". Train the encoder again: ehr-pipeline run --select encoder_checkpoint+"
    added = vocabulary.size - known.size
    if found == known.hash and added:
        message += f", which has {added:,} newer concepts that this encoder does not know"
    return found == known.hash, message, {"unknown_concepts": Plain(added)}


@check()
def vectors_finite(artifact: Artifact, store: Store, study: Study) -> Result:
    """No concept vector contains NaN or infinity."""
    vectors = read_vectors(artifact.path)
    bad = int((~np.isfinite(vectors)).any(1).sum())
    return (
        not bad,
        f"{bad} of {len(vectors):,} concept vectors are not finite{UNEXPECTED if bad else ''}",
        {"not_finite": Plain(bad)},
    )


SAME = "their pooled concepts do not differ. Widen the cohort, or pool other concepts (embeddings.pooling)"


@check()
def embeddings_sound(artifact: Artifact, store: Store, study: Study) -> Result:
    """Patient vectors are finite and do not all point in the same direction."""
    count, bad, zero, direction = 0, 0, 0, np.zeros(artifact.counts["dimensions"])
    for path in artifact.files("embeddings"):
        vectors = schemas.matrix(schemas.read(path))
        finite = np.isfinite(vectors).all(1)
        count, bad = count + len(vectors), bad + int((~finite).sum())
        zero += int((~vectors.any(1)).sum())
        direction += (vectors[finite] / np.maximum(np.linalg.norm(vectors[finite], axis=1, keepdims=True), 1e-12)).sum(
            0
        )
    if bad:
        return False, f"{count_text(bad)} patient vectors are not finite{UNEXPECTED}", {"not_finite": People(bad)}
    if count > 1 and zero == count:  # all vectors are equal: subtracting the cohort's mean leaves zeros
        return False, f"all patients have the same vector: {SAME}", {"spread": Score(0.0)}
    spread = float(1 - np.linalg.norm(direction / max(count, 1)) ** 2)  # 0 when all vectors point the same way
    return (
        count < 2 or spread > 1e-4,
        f"spread of directions {spread:.4f} (0: all patients have the same vector, because {SAME})",
        {"spread": Score(spread)},
    )
