"""The cohort's lists of codes: what the codes mean, and how many of their concepts contribute to patients' vectors."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from ehr_pipeline.cohort.members import read_lists
from ehr_pipeline.disclosure.figures import HIDDEN
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.embeddings.vectors import pooled_tokens
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.tables.asset_names import COHORT, PATIENT_EMBEDDINGS
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

SHOWN = 200
"""Largest number of codes of a list that the page shows."""
FIGURES = ("codes", "concepts", "concepts_in_extract", "events", "rows_without_concept", "unmapped_events")
"""Counts shown for each list."""


@dataclass(frozen=True)
class DiseaseConcepts:
    """The concepts on the lists of the cohort's diseases, and which of them are pooled into the patients' vectors."""

    names: tuple[str, ...]
    """Names of those concepts of the cohort's diseases that enter the patients' vectors."""
    pooled: int
    """How many concepts are pooled."""
    listed: frozenset[str]
    """All concepts of the lists, pooled or not."""
    by_disease: tuple[frozenset[str], ...] = ()
    """The concepts of each disease's list."""

    def same(self, one: str, other: str) -> bool:
        """Return whether two concepts are on the list of one disease."""
        return any({one, other} <= concepts for concepts in self.by_disease)


def listed(inputs: Inputs, disclosure: Disclosure) -> list[dict[str, Any]]:
    """Return the list of each disease as text: counts of codes, concepts and events, and the codes with their names."""
    facts, patients = (inputs.artifacts[COHORT].counts[name] for name in ("lists", "by_disease"))
    rows, diseases = read_lists(inputs.artifacts[COHORT].path), []
    for disease in inputs.settings[COHORT]["cohort"]:
        name, figures = disease["name"], dict.fromkeys(FIGURES, "–")
        if disease["concepts"]:  # without a list every patient is a case
            counts, few = facts[name], disclosure.small(patients.get(name, 0))
            figures = {figure: f"{counts[figure]:,}" for figure in FIGURES}
            # The number of events of few patients would reveal how few they are.
            events, unmapped = counts["events"], counts["unmapped_events"]
            figures["events"] = HIDDEN if few and events else disclosure.show(events)
            figures["unmapped_events"] = HIDDEN if few and unmapped else disclosure.show(unmapped, events)
        codes = [f"{row['code'] or row['cui']} {row['name']}" for row in rows if row["disease"] == name][:SHOWN]
        digest = disease["concepts"][:16]  # the first letters of the SHA-256 of the file
        diseases.append({"name": name, "days": disease["min_visits"], "digest": digest, "rows": codes, **figures})
    return diseases


def disease_concepts(inputs: Inputs, vocabulary: Vocabulary, named: Collection[str]) -> DiseaseConcepts | None:
    """Return the concepts on the cohort's lists, with the names of pooled ones in `named`. None if no list defines the cohort."""
    rows = read_lists(inputs.artifacts[COHORT].path)
    if not rows:
        return None
    lists: dict[str, set[str]] = {}
    for row in rows:
        lists.setdefault(row["disease"], set()).update(row["concept"].split())
    concepts = frozenset().union(*lists.values())
    pooled = pooled_tokens(inputs.artifacts[PATIENT_EMBEDDINGS].path)
    pooled_concepts = [vocabulary.concepts[token - FIRST_CONCEPT] for token in pooled]
    shown = (concept.name for concept in pooled_concepts if concept.concept in concepts and concept.concept in named)
    return DiseaseConcepts(tuple(shown), len(pooled), concepts, tuple(map(frozenset, lists.values())))
