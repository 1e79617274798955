"""Choose the concepts that are compared; concepts recorded in place of each other count as one."""

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
    """The concepts that are compared, each with the token ids that stand for it, the most frequent first."""

    groups: tuple[tuple[int, ...], ...]
    vocabulary: Vocabulary

    def __len__(self) -> int:
        return len(self.groups)

    @cached_property
    def concepts(self) -> tuple[Concept, ...]:
        """The concept that names each (n,)."""
        return tuple(self.vocabulary.concepts[group[0] - FIRST_CONCEPT] for group in self.groups)

    @cached_property
    def place_of(self) -> NDArray[np.int32]:
        """The place of each token id (V,); -1 where it is not compared."""
        found = np.full(self.vocabulary.size, -1, np.int32)
        for place, group in enumerate(self.groups):
            found[list(group)] = place
        return found

    @cached_property
    def types(self) -> NDArray[np.int64]:
        """The number of the first semantic type of each concept (n,); concepts without one share a number."""
        names = [(concept.semantic_types or ("",))[0] for concept in self.concepts]
        found: NDArray[np.int64] = np.unique(names, return_inverse=True)[1].astype(np.int64)
        return found

    def places(self, pairs: Iterable[tuple[str, str]]) -> NDArray[np.int64]:
        """The places (m, 2) of pairs of concepts; pairs that are not both compared, or one and the same, are left out."""
        token, place = self.vocabulary.token_of, self.place_of
        found = [tuple(int(place[token[one]]) if one in token else -1 for one in pair) for pair in pairs]
        kept = [pair for pair in found if min(pair) >= 0 and pair[0] != pair[1]]
        return np.array(kept, np.int64).reshape(-1, 2)


def choose(
    vocabulary: Vocabulary, listed: frozenset[str], settings: RelationsSettings, synonyms: NDArray[np.int64]
) -> Chosen:
    """Choose the concepts of a list, or of the semantic types of the settings; `synonyms` (k, 2) are token ids that count as one.

    A synonym of a chosen concept is counted with it, even if it is not listed. There may be fewer than two.
    """
    wanted = [concept for concept in vocabulary.concepts if _is_wanted(concept, listed, settings)]
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


def _is_wanted(concept: Concept, listed: frozenset[str], settings: RelationsSettings) -> bool:
    """Whether a concept is listed, or without a list, of one of the types; a local code has no type, and is compared too."""
    if listed:
        return concept.concept in listed
    return not concept.semantic_types or not set(settings.types).isdisjoint(concept.semantic_types)
