"""Compare pairs of concepts without any record: how similar their names are, and how near they are in a disease ontology.

Both are compared with the other measures as separate graphs, and take no part in the consensus. Axes: n concepts.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.concepts.ontology import Ontology
from ehr_pipeline.vocabulary.table import Concept

NAMES, SENTENCES, ONTOLOGY = "names", "names_by_sentence_encoder", "ontology"
NEAR = 2
"""A pair at most this many steps apart in the ontology is not new: parent and child, grandparent, or siblings."""
FAR = np.iinfo(np.int16).max
"""Number of steps between concepts that the ontology does not connect."""


def name_cosines(
    concepts: Sequence[Concept], vectors_of: Callable[[Sequence[str]], NDArray[np.floating[Any]]]
) -> NDArray[np.float64]:
    """Return cosines (n, n) of the vectors of names; NaN where a concept has no name but its code."""
    named = np.array([bool(one.name) and one.name != one.concept for one in concepts])
    cosines = np.full((len(concepts), len(concepts)), np.nan)
    if named.sum() > 1:
        vectors = vectors_of([one.name for one, has in zip(concepts, named, strict=True) if has])
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        cosines[np.ix_(named, named)] = unit @ unit.T
    return cosines


@dataclass(frozen=True)
class Near:
    """How near concepts are in an ontology."""

    similarity: NDArray[np.float64]
    """Similarity of Lin 1998 (n, n), from 0 to 1; NaN where a concept is not in the ontology."""
    steps: NDArray[np.int16]
    """Fewest IS-A steps from one concept up to a common ancestor and down to the other concept (n, n); FAR if they have no common
    ancestor."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """Flags (n,) of the concepts that are in the ontology."""
        flags: NDArray[np.bool_] = self.steps.diagonal() == 0
        return flags


def near(ontology: Ontology, concepts: Sequence[Concept], patients: NDArray[np.integer]) -> Near:
    """Compute how near the concepts are in the ontology (Lin 1998). `patients` (n,) counts the patients who have each concept.

    The information of a node is the negative logarithm of a share: the sum of these counts over the concepts at and below the node,
    as a share of the sum over all concepts (Resnik 1995). The similarity of two concepts is the information of their most
    informative common ancestor, divided by the mean information of the two concepts.
    """
    above = _above(ontology, [one.concept for one in concepts])
    members: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for place, nodes in enumerate(above):
        for node, up in nodes.items():
            members[node].append((place, up))
    weight = np.maximum(np.asarray(patients, np.float64), 1)
    whole = weight[[bool(nodes) for nodes in above]].sum()
    information = {
        node: -float(np.log(weight[[p for p, _ in shares]].sum() / whole)) for node, shares in members.items()
    }
    shared = np.full((len(concepts), len(concepts)), np.nan)
    steps = np.full(shared.shape, FAR, np.int16)
    for node in sorted(members, key=lambda one: (information[one], one)):  # the most informative one is written last
        places, ups = np.array(members[node]).T
        both = np.ix_(places, places)
        shared[both] = information[node]
        steps[both] = np.minimum(steps[both], ups[:, None] + ups[None])
    in_it = np.array([bool(nodes) for nodes in above])
    shared[np.ix_(in_it, in_it)] = np.nan_to_num(shared[np.ix_(in_it, in_it)])
    shares = shared.diagonal()
    with np.errstate(invalid="ignore"):
        total = shares[:, None] + shares[None]
        similarity = np.where(total > 0, 2 * shared / np.where(total > 0, total, 1), shared)
    return Near(similarity, steps)


def _above(ontology: Ontology, concepts: Sequence[str]) -> list[Mapping[str, int]]:
    """Return, for each concept, the nodes that stand for it and all nodes above these, each with the number of steps up to it."""
    parents: dict[str, list[str]] = defaultdict(list)
    for parent, children in ontology.children.items():
        for child in children:
            parents[child].append(parent)
    in_tree = parents.keys() | ontology.children.keys()
    nodes_of: dict[str, list[str]] = defaultdict(list)
    for node, named in ontology.concepts.items():
        if node in in_tree:
            for concept in named:
                nodes_of[concept].append(node)
    levels: list[Mapping[str, int]] = []
    for concept in concepts:
        seen: dict[str, int] = {}
        level, steps = nodes_of.get(concept, []), 0
        while level:
            new = [node for node in dict.fromkeys(level) if node not in seen]
            seen.update(dict.fromkeys(new, steps))
            level, steps = [parent for node in new for parent in parents.get(node, ())], steps + 1
        levels.append(seen)
    return levels


def new_edges(edges: NDArray[np.int64], nearness: Near) -> dict[str, float | int]:
    """Return how many of the edges (m, 2) have both concepts in the ontology, and the share of these whose concepts are more than
    NEAR steps apart."""
    one, other = edges.T
    both = nearness.known[one] & nearness.known[other]
    far = nearness.steps[one, other][both] > NEAR
    return {"edges_in_ontology": int(both.sum()), "new_to_ontology": float(far.mean()) if both.any() else 0.0}
