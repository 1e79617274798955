"""Build `concept_embeddings`: the encoder's input vectors of all concepts, and a check that they are plausible.

The artifact holds `vectors.npy` (V, D) by token id, `neighbours.csv` (nearest neighbours of the concepts of interest, among
themselves and in the whole vocabulary), `ontology.json` (how often neighbours share a group of a disease ontology, if one is set),
`projector/` (for TensorBoard or projector.tensorflow.org) and `notes/concepts_3d.json`, the data of the picture that
`data_stages.concepts` draws.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ehr_pipeline.concepts import ontology, picture, projector
from ehr_pipeline.concepts.neighbours import nearest
from ehr_pipeline.concepts.settings import ConceptsSettings
from ehr_pipeline.concepts.table import NEIGHBOURS, ONTOLOGY, SCOPES, VECTORS
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.errors import InputError
from ehr_pipeline.events.resolve_lists import Rows, facts
from ehr_pipeline.events.resolve_lists import concepts as concepts_of
from ehr_pipeline.store.artifacts import Counts
from ehr_pipeline.tables import json_files, schemas
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

MOST_FREQUENT = 100
"""Number of concepts shown with their neighbours if there is no list of concepts of interest."""


def input_vectors(folder: Path, vocabulary: Vocabulary) -> NDArray[np.float32]:
    """Return the input embeddings (V, D) of a checkpoint by token id, read with the usual checks (`checkpoint.load`)."""
    stock = checkpoint.load(folder, vocabulary, torch.device("cpu")).stock
    return stock.token_vectors.detach().numpy()


def build(
    encoder: Path,
    vocabulary: Vocabulary,
    settings: ConceptsSettings,
    seed: int,
    out: Path,
    *,
    interest: Rows,
    concept_of_code: dict[str, str],
) -> Counts:
    """Write vectors, neighbours, projector files and the data for the picture of the concepts of interest. Return counts.

    `encoder` is the folder of the checkpoint, `interest` the list of concepts of interest; `concept_of_code` maps the nodes of an
    ontology to concepts. Raises InputError if fewer than two concepts of interest are in the vocabulary.
    """
    vectors = input_vectors(encoder, vocabulary)
    np.save(out / VECTORS, vectors)
    frequent = sorted(vocabulary.concepts, key=lambda concept: (-concept.patients, concept.token_id))
    # Without a list in the study, show the concepts of the most patients.
    listed = concepts_of(interest) or frozenset(concept.concept for concept in frequent[:MOST_FREQUENT])
    known = np.array(
        sorted(vocabulary.token_of[concept] for concept in listed if concept in vocabulary.token_of), np.int64
    )
    if len(known) < 2:
        raise InputError(
            f"{settings.concepts_of_interest} (concepts.concepts_of_interest): {len(known)} of the {len(listed)} concepts of"
            " interest are in the vocabulary; neighbours need at least two."
            " Name another list in concepts.concepts_of_interest, or lower vocabulary.min_appearances."
        )
    everything = np.arange(FIRST_CONCEPT, vocabulary.size)
    near = [
        (scope, *nearest(known, among, vectors, settings.neighbours))
        for scope, among in zip(SCOPES, (known, everything), strict=True)
    ]
    spreadsheet.write(out / NEIGHBOURS, schemas.NEIGHBOURS, _neighbours(vocabulary, known, near))
    projector.write(out / "projector", vocabulary, vectors, {"concepts_of_interest": known, "vocabulary": everything})
    grouped = _grouped(vocabulary, vectors, concept_of_code, settings, seed)
    if grouped is not None:
        json_files.write(out / ONTOLOGY, grouped)
    picture.write(out, vocabulary, vectors, known, seed)
    return {
        "rows_in": len(listed),
        "kept": len(known),
        "dropped": {"not_in_vocabulary": len(listed) - len(known)},
        **({"lists": {"concepts_of_interest": facts(interest)}} if interest else {}),
        "vectors": len(everything),
        "dimensions": int(vectors.shape[1]),
        # Names of groups come from the data, so they are only in the file, with the numbers of patients that determine which may be
        # shown.
        **({"ontology": {k: v for k, v in grouped.items() if k != "by_group"}} if grouped is not None else {}),
    }


def _neighbours(
    vocabulary: Vocabulary, known: NDArray[np.int64], near: list[tuple[str, NDArray[np.int64], NDArray[np.float32]]]
) -> Iterator[tuple[object, ...]]:
    """Yield the rows of `neighbours.csv`. `near` holds one entry per scope: its name, and token ids and cosines (known, k)."""
    for scope, found, cosines in near:
        for token, row, row_cosines in zip(known.tolist(), found.tolist(), cosines.tolist(), strict=True):
            one = vocabulary.concepts[token - FIRST_CONCEPT]
            for rank, (neighbour, cosine) in enumerate(zip(row, row_cosines, strict=True), start=1):
                other = vocabulary.concepts[neighbour - FIRST_CONCEPT]
                yield (one.concept, one.name, scope, rank, other.concept, other.name, f"{cosine:.4f}")


def _grouped(
    vocabulary: Vocabulary,
    vectors: NDArray[np.float32],
    concept_of_code: dict[str, str],
    settings: ConceptsSettings,
    seed: int,
) -> dict[str, Any] | None:
    """Return how often neighbours belong to the same group of the ontology; None if no ontology is set."""
    if not settings.ontology:
        return None
    known = ontology.Ontology.read(settings.ontology, concept_of_code)
    groups = known.groups(settings.groups_below)
    # A relationship file has no names, so groups that are in the vocabulary take its names.
    names = {
        code: vocabulary.name(vocabulary.token_of[concept])
        for code, concept in concept_of_code.items()
        if code in groups and concept in vocabulary.token_of
    }
    return ontology.agreement(
        vectors, vocabulary, groups, names | known.names, neighbours=settings.neighbours, seed=seed
    )
