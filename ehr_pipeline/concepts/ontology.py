"""Measure whether concepts with similar vectors are in the same group of a disease ontology more often than by chance.

Groups are the children of a node, such as 'disorder of body system' of SNOMED; a concept belongs to all groups above it. Concepts
without a group are ignored, both as concepts and as neighbours. Chance is the result expected for neighbours drawn at random from
the other grouped concepts.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.concepts.neighbours import nearest
from ehr_pipeline.errors import InputError
from ehr_pipeline.terminology import obo, rf2
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

RESAMPLES = 1000
FEWEST = 20
"""With fewer grouped concepts than this, no share is reported."""


@dataclass(frozen=True)
class Ontology:
    """The edges of one or more ontologies, and the concepts of their nodes."""

    children: dict[str, set[str]]
    concepts: dict[str, set[str]]
    """The concepts of each node."""
    names: dict[str, str]
    """Names of nodes, where known."""

    @classmethod
    def read(cls, paths: tuple[str, ...], concept_of_code: Mapping[str, str]) -> "Ontology":
        """Read OBO files (those ending in .obo) and SNOMED RF2 relationship files. Raises InputError for any other file."""
        children: dict[str, set[str]] = defaultdict(set)
        concepts: dict[str, set[str]] = defaultdict(set)
        names: dict[str, str] = {}
        for code, concept in concept_of_code.items():
            concepts[code].add(concept)
        for path in (Path(path) for path in paths if is_obo(path)):
            for node, term in obo.read(path).items():
                names[node] = term.names[0] if term.names else node
                concepts[node] |= {
                    *term.cuis,
                    *(concept_of_code[code] for code in term.codes if code in concept_of_code),
                }
                for parent in term.parents:
                    children[parent].add(node)
        releases = tuple(path for path in paths if not is_obo(path))
        if releases:
            for child, parent in rf2.parents(releases, obo.SETTING).select("source", "target").iter_rows():
                children[parent].add(child)
        return cls(dict(children), dict(concepts), names)

    def groups(self, above: tuple[str, ...]) -> dict[str, set[str]]:
        """Return the groups: one for each child of the nodes `above`, with the concepts of the child and of its descendants. Raises
        InputError if the ontology has none of these nodes."""
        roots = [node for node in above if node in self.children]
        if not roots:
            raise InputError(
                f"None of {', '.join(above)} (concepts.groups_below) has children in the files of concepts.ontology."
                " Name a node whose children are the groups."
            )
        found = {}
        for group in sorted({child for root in roots for child in self.children[root]}):
            nodes, waiting = {group}, [group]
            while waiting:
                new = self.children.get(waiting.pop(), set()) - nodes
                nodes |= new
                waiting += new
            found[group] = {concept for node in nodes for concept in self.concepts.get(node, ())}
        return found


def is_obo(path: str) -> bool:
    """Return whether an ontology file is in OBO format, judged by its extension."""
    return path.lower().endswith(".obo")


def agreement(
    vectors: NDArray[np.float32],
    vocabulary: Vocabulary,
    groups: Mapping[str, set[str]],
    names: Mapping[str, str],
    *,
    neighbours: int,
    seed: int,
) -> dict[str, Any]:
    """Return the mean share of a concept's nearest neighbours (by cosine) that are in a group with it, the share by chance, and
    intervals. Concepts without a group are left out.

    `vectors` (V, D) are by token id. The 95 % intervals are for the mean over concepts (bootstrap, Efron 1979). For each group,
    `patients` is the number of patients with its most common concept: at least that many patients have one of its concepts.
    """
    members = {
        group: np.array(sorted(vocabulary.token_of[name] for name in own if name in vocabulary.token_of), np.int64)
        for group, own in groups.items()
    }
    members = {group: tokens for group, tokens in members.items() if len(tokens)}
    tokens = np.unique(np.concatenate([np.zeros(0, np.int64), *members.values()]))
    result: dict[str, Any] = {"concepts": len(tokens), "groups": len(members), "neighbours": neighbours}
    if len(tokens) < FEWEST:
        return result
    belongs = np.stack([np.isin(tokens, own) for own in members.values()], axis=1)  # (N, groups)
    found, _ = nearest(tokens, tokens, vectors, neighbours)
    place = np.searchsorted(tokens, found)
    share = (belongs[:, None, :] & belongs[place]).any(2).mean(1)
    chance = _share_of_all(belongs)
    rng = np.random.default_rng([seed, 0x0270])
    means = np.array(
        [
            (share[drawn].mean(), (share[drawn] - chance[drawn]).mean())
            for drawn in (rng.integers(len(tokens), size=len(tokens)) for _ in range(RESAMPLES))
        ]
    )
    low, high = np.quantile(means, (0.025, 0.975), axis=0)
    by_group: list[dict[str, Any]] = [
        {
            "group": names.get(group, group),
            "concepts": int(own.sum()),
            "patients": max(vocabulary.concepts[token - FIRST_CONCEPT].patients for token in tokens[own].tolist()),
            "share": _within(belongs, place, own, number),
            "chance": round(float((own.sum() - 1) / (len(tokens) - 1)), 4),
        }
        for number, (group, own) in enumerate(zip(members, belongs.T, strict=True))
        if own.sum() > neighbours
    ]
    return result | {
        "share": round(float(share.mean()), 4),
        "share_interval": [round(float(low[0]), 4), round(float(high[0]), 4)],
        "chance": round(float(chance.mean()), 4),
        "excess": round(float((share - chance).mean()), 4),
        "excess_interval": [round(float(low[1]), 4), round(float(high[1]), 4)],
        "by_group": sorted(by_group, key=lambda row: (-row["concepts"], row["group"])),
    }


def _within(belongs: NDArray[np.bool_], place: NDArray[np.int64], own: NDArray[np.bool_], number: int) -> float:
    """Return the share of the neighbours of a group's concepts that are in the same group."""
    return round(float(belongs[place[own], number].mean()), 4)


def _share_of_all(belongs: NDArray[np.bool_], block: int = 2048) -> NDArray[np.float64]:
    """Return the share of all other concepts with which each concept (N,) has a group in common."""
    flat = belongs.astype(np.float32)
    alike = [((flat[start : start + block] @ flat.T) > 0).sum(1) - 1 for start in range(0, len(flat), block)]
    return np.concatenate(alike) / max(len(flat) - 1, 1)
