"""Whether the nearest neighbours of concepts make sense, summed up: are they of one semantic type more often than by chance?"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.vocabulary.table import Vocabulary

Z95 = 1.959963984540054
TWICE = 2.0
"""How often the share of chance, from which on the neighbours are said to make sense."""
SCOPE = "whole vocabulary"


@dataclass(frozen=True)
class Found:
    """Shares of neighbours that have a semantic type of their concept, and what chance gives; over some concepts."""

    concepts: int
    share: float
    chance: float
    low: float
    """The lower end of the interval of 95 % of what the share is beyond chance, over concepts."""


def found(concepts: Artifact, vocabulary: Vocabulary, only: Collection[str] | None = None) -> Found | None:
    """Of the concepts of interest, or `only` those of them; None where none has a type and a neighbour.

    Chance: the share of all other concepts of the vocabulary with a type, of which one is the concept's.
    """
    types = {
        concept.concept: frozenset(concept.semantic_types) for concept in vocabulary.concepts if concept.semantic_types
    }
    neighbours: dict[str, list[str]] = defaultdict(list)
    with concepts.file("neighbours.csv").open(encoding="utf-8", newline="") as stream:
        for row in spreadsheet.rows(stream):
            wanted = row["scope"] == SCOPE and (only is None or row["concept"] in only)
            if wanted and row["concept"] in types and row["neighbour"] in types:
                neighbours[row["concept"]].append(row["neighbour"])
    if not neighbours:
        return None
    share = np.array([np.mean([bool(types[one] & types[other]) for other in near]) for one, near in neighbours.items()])
    alike = [sum(bool(types[one] & own) for own in types.values()) - 1 for one in neighbours]
    chance = np.array(alike) / max(len(types) - 1, 1)
    beyond = share - chance
    spread = float(beyond.std(ddof=1)) / len(beyond) ** 0.5 if len(beyond) > 1 else float("inf")
    return Found(len(share), float(share.mean()), float(chance.mean()), float(beyond.mean()) - Z95 * spread)


def sentence(interest: Found | None, own: Found | None) -> str:
    """What the check comes to, in plain words; `own` are the diseases of the cohort. Empty where nothing can be said."""
    if interest is None:
        return ""
    told = (
        f"Of the nearest neighbours of {interest.concepts:,} concepts of interest in the whole vocabulary,"
        f" {_percent(interest.share)} are of the same semantic type (such as “disease” or “laboratory test”); by chance it would be"
        f" {_percent(interest.chance)}."
    )
    if own is not None:
        told += (
            f" Of those of the cohort's own diseases ({own.concepts:,}; the first rows below), {_percent(own.share)}, and by chance"
            f" {_percent(own.chance)}."
        )
    doubt = ""
    if own is not None and own.low <= 0 < interest.low:
        doubt = " Of the cohort's own diseases not even that can be said: read no meaning into their neighbours."
    if interest.low <= 0:
        return (
            f"{told} That is no more than chance: this network's neighbours say nothing, and are not to be relied on."
        )
    if interest.share < TWICE * interest.chance:
        return (
            f"{told} That is more than chance, but not much: this network understood the concepts in part only.{doubt}"
        )
    return f"{told} That is clearly more than chance, but a type is coarse: read the rows before you trust single ones.{doubt}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
