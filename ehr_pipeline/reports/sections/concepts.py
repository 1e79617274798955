"""The concept check: are nearest neighbours recorded together, and of one type, more often than by chance?"""

from collections import defaultdict
from collections.abc import Collection
from typing import Any

import numpy as np

from ehr_pipeline.concepts.recorded_together import JointVisits, held_out, joint_visits
from ehr_pipeline.concepts.table import SCOPES, read_neighbours, read_ontology
from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.reports.enrichment import Z95
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.sections import short
from ehr_pipeline.reports.statements import concepts as say
from ehr_pipeline.reports.statements import vectors
from ehr_pipeline.reports.statements.concepts import TypeAgreement
from ehr_pipeline.reports.statements.statement import counted, percent
from ehr_pipeline.reports.substituted_concepts import SHOWN
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables.asset_names import CONCEPT_EMBEDDINGS, DATA_SPLIT, PATIENT_DATASET
from ehr_pipeline.vocabulary.table import Vocabulary

FIRST_SHOWN = 8
"""Rows of neighbours that are not folded away."""


def content(findings: Findings) -> dict[str, Any]:
    """Return what the neighbours are compared with, the rows of neighbours, and the concepts that count as one."""
    concepts, own = findings.inputs.artifacts[CONCEPT_EMBEDDINGS], findings.disease_concepts
    naming = findings.inputs.naming(findings.disclosure.below)
    rows = read_neighbours(concepts.path)
    of_own = type_agreement(rows, findings.vocabulary, own.listed) if own else None
    ontology, sets = _ontology(concepts, naming), findings.substituted.sets or ()
    listed = _neighbours(rows, own.listed if own else (), findings.named)
    shown = [(row["name"], row[SCOPES[1]], row[SCOPES[0]]) for row in listed]
    found = _joint_visits(findings, rows)
    checked = [
        say.purpose(),
        vectors.no_part(short.vector_method(findings.inputs, findings.vocabulary)),
        say.recorded_together(found, findings.disclosure.about(found.patients) if found else ""),
        say.types(type_agreement(rows, findings.vocabulary), of_own),
        say.ontology(ontology),
    ]
    return {
        "checked": [statement for statement in checked if statement],
        "by_group": [
            (row["group"], row["concepts"], percent(row["share"], 1), percent(row["chance"], 1))
            for row in (ontology or {}).get("by_group", ())
        ],
        "scopes_differ": any(everywhere != of_interest for _, everywhere, of_interest in shown),
        "first": shown[:FIRST_SHOWN],
        "others": shown[FIRST_SHOWN:],
        "others_folded": f"The other {counted(len(shown) - FIRST_SHOWN, 'concept')} of interest",
        "habits": say.habits(findings.substituted.sentence),
        "sets": sets[:SHOWN],
        "more_sets": say.more_sets(len(sets) - SHOWN),
    }


def _joint_visits(findings: Findings, rows: list[dict[str, Any]]) -> JointVisits | None:
    """Test whether concepts and their neighbours (in the whole vocabulary) are recorded together in visits of held-out patients."""
    artifacts, vocabulary = findings.inputs.artifacts, findings.vocabulary
    known = vocabulary.token_of
    pairs = [
        (known[row["concept"]], known[row["neighbour"]])
        for row in rows
        if row["scope"] == SCOPES[1] and row["concept"] in known and row["neighbour"] in known
    ]
    concepts, neighbours = np.array(pairs, np.int64).reshape(-1, 2).T
    shards = zip(artifacts[PATIENT_DATASET].files("patients"), artifacts[DATA_SPLIT].files("split"), strict=True)
    return joint_visits(held_out(shards, vocabulary.size), concepts, neighbours, findings.inputs.seed)


def type_agreement(
    rows: list[dict[str, Any]], vocabulary: Vocabulary, only: Collection[str] | None = None
) -> TypeAgreement | None:
    """Compute how often neighbours share a type with their concept, over the concepts of interest or `only` some of them. None if
    no concept with a type has a neighbour with one.

    Chance is the share of concepts that have a type in common with the concept, of all other concepts of the vocabulary with a
    type.
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


def _ontology(concepts: Artifact, naming: Naming) -> dict[str, Any] | None:
    """Return how often neighbours belong to the same group of an ontology. Groups that too few patients have are left out."""
    if "ontology" not in concepts.counts:
        return None
    found = read_ontology(concepts.path)
    return found | {
        "by_group": [row for row in found.get("by_group", ()) if naming.shows(row["group"], row["patients"])]
    }


def _neighbours(rows: list[dict[str, Any]], first: Collection[str], named: Collection[str]) -> list[dict[str, Any]]:
    """Return the names of each concept of interest's nearest neighbours in both scopes; concepts in `first` come first.

    Only concepts in `named` are listed, since enough patients have these. Numbers of appearances cannot decide this: all may be of
    one patient."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["concept"] in named and row["neighbour"] in named:
            entry = found.setdefault(row["concept"], {"name": row["name"], **{scope: [] for scope in SCOPES}})
            entry[row["scope"]].append(row["neighbour_name"])
    return [found[concept] for concept in sorted(found, key=lambda concept: concept not in first)]
