"""Choose the tokens that are averaged into a patient's vector: one function per choice, registered in SELECTIONS."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.concepts.neighbours import nearest
from ehr_pipeline.embeddings.settings import PoolingSettings
from ehr_pipeline.errors import InputError
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

Flags = NDArray[np.bool_]  # (V,), one flag for each token id
Selection = Callable[[PoolingSettings, Vocabulary, NDArray[np.float32], frozenset[str]], Flags]


def all_tokens(
    settings: PoolingSettings, vocabulary: Vocabulary, vectors: NDArray[np.float32], listed: frozenset[str]
) -> Flags:
    """Choose every concept."""
    return np.arange(vocabulary.size) >= FIRST_CONCEPT


def by_types(
    settings: PoolingSettings, vocabulary: Vocabulary, vectors: NDArray[np.float32], listed: frozenset[str]
) -> Flags:
    """Choose concepts with one of the settings' semantic types; every concept if none has a type (no code maps to the UMLS)."""
    if not any(concept.semantic_types for concept in vocabulary.concepts):
        return all_tokens(settings, vocabulary, vectors, listed)
    chosen = np.zeros(vocabulary.size, bool)
    for concept in vocabulary.concepts:
        chosen[concept.token_id] = bool(set(concept.semantic_types) & set(settings.semantic_types))
    return chosen


def by_list(
    settings: PoolingSettings, vocabulary: Vocabulary, vectors: NDArray[np.float32], listed: frozenset[str]
) -> Flags:
    """Choose the concepts of a list, and their nearest neighbours by cosine in the whole vocabulary."""
    tokens = np.array(
        sorted(vocabulary.token_of[concept] for concept in listed if concept in vocabulary.token_of), np.int64
    )
    chosen = np.zeros(vocabulary.size, bool)
    chosen[tokens] = True
    if settings.neighbours and len(tokens):
        neighbours, _ = nearest(tokens, np.arange(FIRST_CONCEPT, vocabulary.size), vectors, settings.neighbours)
        chosen[neighbours.ravel()] = True
    return chosen


SELECTIONS: dict[str, Selection] = {"all": all_tokens, "types": by_types, "list": by_list}


def select(
    settings: PoolingSettings, vocabulary: Vocabulary, vectors: NDArray[np.float32], listed: frozenset[str]
) -> Flags:
    """Return flags (V,) of the chosen token ids; `listed` contains the concepts of the list. Raises InputError if none is
    chosen."""
    chosen = SELECTIONS[settings.select](settings, vocabulary, vectors, listed)
    if not chosen.any():
        raise InputError(
            f"No concept of the vocabulary is chosen for pooling (embeddings.pooling.select = {settings.select!r})."
            " Choose other semantic types, another list, or 'all'."
        )
    return chosen
