"""Choose the concepts to compare. Concepts that are recorded in place of each other count as one concept."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from ehr_pipeline.relations.settings import RelationsSettings
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Concept, Vocabulary


@dataclass(frozen=True)
class Chosen:
    """The concepts to compare. Each is a group of token ids that count as one concept, the most frequent id first."""

    groups: tuple[tuple[int, ...], ...]
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return len(self.groups)

    @cached_property
    def concepts(self) -> tuple[Concept, ...]:
        """The concepts (n,) that give the groups their names: the most frequent one of each group."""
        return tuple(self.vocabulary.concepts[group[0] - FIRST_CONCEPT] for group in self.groups)

    @cached_property
    def place_of(self) -> NDArray[np.int32]:
        """The index (V,) of the group that each token id belongs to; -1 for a token that is not compared."""
        index = np.full(self.vocabulary.size, -1, np.int32)
        for place, group in enumerate(self.groups):
            index[list(group)] = place
        return index

    @cached_property
    def types(self) -> NDArray[np.int64]:
        """The index of the first semantic type of each concept (n,); concepts without a type share one index."""
        names = [(concept.semantic_types or ("",))[0] for concept in self.concepts]
        return np.unique(names, return_inverse=True)[1].astype(np.int64)

    def places(self, pairs: Iterable[tuple[str, str]]) -> NDArray[np.int64]:
        """Return the group indices (m, 2) of pairs of concepts. Leaves out pairs within a group, or with a concept not compared."""
        token, place = self.vocabulary.token_of, self.place_of
        indices = [tuple(int(place[token[one]]) if one in token else -1 for one in pair) for pair in pairs]
        kept = [pair for pair in indices if min(pair) >= 0 and pair[0] != pair[1]]
        return np.array(kept, np.int64).reshape(-1, 2)


def choose(
    vocabulary: Vocabulary, listed: frozenset[str], settings: RelationsSettings, synonyms: NDArray[np.int64]
) -> Chosen:
    """Choose the concepts of a list or, without a list, of the semantic types in the settings.

    `synonyms` (k, 2) are pairs of token ids that count as one concept. A synonym of a chosen concept is counted with it, even
    if the synonym is not listed. The result may hold fewer than two concepts.
    """
    wanted = [concept for concept in vocabulary.concepts if _is_compared(concept, listed, settings)]
    frequent = sorted(wanted, key=lambda concept: (-concept.patients, concept.token_id))[: settings.most]
    tokens = {concept.token_id for concept in frequent}
    shape = (vocabulary.size, vocabulary.size)
    links = sparse.coo_array((np.ones(len(synonyms)), synonyms.T.reshape(2, -1)), shape=shape)
    _, part = connected_components(links, directed=False)
    parts = {int(part[token]) for token in tokens}
    groups: dict[int, list[Concept]] = {}
    for concept in vocabulary.concepts:
        number = int(part[concept.token_id])
        if number in parts:
            groups.setdefault(number, []).append(concept)
    ordered = [sorted(group, key=lambda one: (-one.patients, one.token_id)) for group in groups.values()]
    return Chosen(tuple(tuple(one.token_id for one in group) for group in ordered), vocabulary)


def _is_compared(concept: Concept, listed: frozenset[str], settings: RelationsSettings) -> bool:
    """Return whether a concept is listed or, without a list, has one of the types. Local codes have no type, and are wanted too."""
    if listed:
        return concept.concept in listed
    return not concept.semantic_types or not set(settings.types).isdisjoint(concept.semantic_types)
