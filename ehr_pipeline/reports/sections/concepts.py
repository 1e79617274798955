"""The concept check: do nearest neighbours of concepts share a semantic type with them more often than by chance?"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from ehr_pipeline.concepts.table import SCOPES, read_neighbours, read_ontology
from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.drawing import data_stages
from ehr_pipeline.reports.enrichment import Z95
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.inputs import embedded
from ehr_pipeline.reports.substituted import SHOWN
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables.asset_names import CONCEPT_EMBEDDINGS
from ehr_pipeline.vocabulary.table import Vocabulary

TWICE = 2.0
"""Multiple of the chance share from which the neighbours are said to make sense."""


@dataclass(frozen=True)
class TypeAgreement:
    """Mean share of neighbours that have a semantic type of their concept, and the share by chance, over some concepts."""

    concepts: int
    share: float
    chance: float
    low: float
    """The lower end of the 95 % interval, over concepts, of the share less the share by chance."""


def content(findings: Findings) -> dict[str, Any]:
    """Return the sentence, the picture, the rows of neighbours, and the concepts that count as one."""
    concepts, own = findings.inputs.artifacts[CONCEPT_EMBEDDINGS], findings.own_diseases
    picture, naming = findings.pictures / "concepts_3d.png", findings.inputs.naming(findings.disclosure.below)
    rows = read_neighbours(concepts.path)
    of_own = type_agreement(rows, findings.vocabulary, own.listed) if own else None
    return {
        "checked": sentence(type_agreement(rows, findings.vocabulary), of_own),
        "concepts_picture": embedded(picture) if data_stages.draw_concepts(concepts, naming, picture) else "",
        "ontology": _ontology(concepts, naming),
        "neighbours": _neighbours(rows, own.listed if own else (), findings.named),
        "substituted": findings.substituted,
        "substituted_shown": SHOWN,
    }


def type_agreement(
    rows: list[dict[str, Any]], vocabulary: Vocabulary, only: Collection[str] | None = None
) -> TypeAgreement | None:
    """Compute the agreement for the concepts of interest, or `only` some of them; None if none has a type and a neighbour.

    Chance is the share of the vocabulary's other concepts with a type that have one in common with the concept.
    """
    types = {
        concept.concept: frozenset(concept.semantic_types) for concept in vocabulary.concepts if concept.semantic_types
    }
    neighbours: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        wanted = row["scope"] == SCOPES[1] and (only is None or row["concept"] in only)
        if wanted and row["concept"] in types and row["neighbour"] in types:
            neighbours[row["concept"]].append(row["neighbour"])
    if not neighbours:
        return None
    share = np.array([np.mean([bool(types[one] & types[other]) for other in near]) for one, near in neighbours.items()])
    alike = [sum(bool(types[one] & own) for own in types.values()) - 1 for one in neighbours]
    chance = np.array(alike) / max(len(types) - 1, 1)
    beyond = share - chance
    spread = float(beyond.std(ddof=1)) / len(beyond) ** 0.5 if len(beyond) > 1 else float("inf")
    return TypeAgreement(len(share), float(share.mean()), float(chance.mean()), float(beyond.mean()) - Z95 * spread)


def sentence(interest: TypeAgreement | None, own: TypeAgreement | None) -> str:
    """Return the result of the check in plain words; `own` is for the cohort's diseases. Empty if nothing can be said."""
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


def _ontology(concepts: Artifact, naming: Naming) -> dict[str, Any] | None:
    """Return how far neighbours belong to the same group, without groups that too few patients have for their name."""
    if "ontology" not in concepts.counts:
        return None
    found = read_ontology(concepts.path)
    return found | {
        "by_group": [row for row in found.get("by_group", ()) if naming.shows(row["group"], row["patients"])]
    }


def _neighbours(rows: list[dict[str, Any]], first: Collection[str], named: Collection[str]) -> list[dict[str, Any]]:
    """Return the names of each concept of interest's nearest neighbours in both scopes; concepts in `first` come first.

    Only concepts in `named` are listed, which enough patients have: thirty appearances may all be of one patient.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["concept"] in named and row["neighbour"] in named:
            entry = found.setdefault(row["concept"], {"name": row["name"], **{scope: [] for scope in SCOPES}})
            entry[row["scope"]].append(row["neighbour_name"])
    return [found[concept] for concept in sorted(found, key=lambda concept: concept not in first)]
