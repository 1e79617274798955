"""A trained encoder as a folder to hand on: weights, configuration, tokenizer, the names of its tokens, and the model card.

The folder stays as restricted as the records, since weights can reveal what they were trained on. The export is refused
if the vocabulary reveals it openly: a concept that very few patients have reveals those patients, and one that no
patient has any more reveals patients who left.
"""

import shutil
from pathlib import Path

from ehr_pipeline.errors import UserError
from ehr_pipeline.store import publishing
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.vocabulary.table import Vocabulary


def export(checkpoint: Artifact, vocabulary: Artifact, fewest: int, out: Path) -> int:
    """Copy the checkpoint to a new folder, whole or not at all. Returns the number of its concepts.

    `vocabulary` is the current one, which counts today's patients. Raises UserError when the folder exists, or when a
    concept of the checkpoint has fewer than `fewest` patients.
    """
    publishing.refuse_taken(out)
    concepts = {concept.concept for concept in Vocabulary.read(checkpoint.file("checkpoint")).concepts}
    few = len(concepts - Vocabulary.read(vocabulary.path).of_patients(fewest))
    if few:
        raise UserError(
            f"This model cannot be handed on: its vocabulary names {few:,} concepts of fewer than {fewest} patients"
            f" (reports.suppress_below), which tells of them. Set vocabulary.min_patients to {fewest} or more, another value than"
            " before, and train it again: materialise vocabulary and all that follows."
        )
    with publishing.whole(out) as part:
        shutil.copytree(checkpoint.file("checkpoint"), part)
    return len(concepts)
