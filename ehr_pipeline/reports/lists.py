"""The cohort's lists of codes: what they stand for, and how many of their concepts have a part in the patients' vectors."""

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
"""Codes of a list that the page shows."""
FIGURES = ("codes", "concepts", "concepts_in_extract", "events", "rows_without_concept", "unmapped_events")
"""What is counted of a list."""


@dataclass(frozen=True)
class Own:
    """The cohort's own diseases among the concepts that decide a patient's vector."""

    names: tuple[str, ...]
    """Their concepts that are pooled."""
    pooled: int
    """How many concepts are pooled."""
    listed: frozenset[str]
    """All concepts of the lists, pooled or not."""


def listed(inputs: Inputs, disclosure: Disclosure) -> list[dict[str, Any]]:
    """The list of each disease, as text: what its codes stand for, how many events they are, and the codes with their names."""
    facts, patients = (inputs.artifacts[COHORT].counts[name] for name in ("lists", "by_disease"))
    rows, diseases = read_lists(inputs.artifacts[COHORT].path), []
    for disease in inputs.settings[COHORT]["cohort"]:
        name, figures = disease["name"], dict.fromkeys(FIGURES, "–")
        if disease["concepts"]:  # without a list every patient is a case
            counts, few = facts[name], disclosure.small(patients.get(name, 0))
            figures = {figure: f"{counts[figure]:,}" for figure in FIGURES}
            # The events of few patients would tell how few they are.
            events, unmapped = counts["events"], counts["unmapped_events"]
            figures["events"] = HIDDEN if few and events else disclosure.show(events)
            figures["unmapped_events"] = HIDDEN if few and unmapped else disclosure.show(unmapped, events)
        codes = [f"{row['code'] or row['cui']} {row['name']}" for row in rows if row["disease"] == name][:SHOWN]
        digest = disease["concepts"][:16]  # the first letters of the SHA-256 of the file
        diseases.append({"name": name, "days": disease["min_visits"], "digest": digest, "rows": codes, **figures})
    return diseases


def own(inputs: Inputs, vocabulary: Vocabulary, named: Collection[str]) -> Own | None:
    """Which pooled concepts are of the cohort's own lists, as far as they may be `named`; None where no list chose the cohort."""
    rows = read_lists(inputs.artifacts[COHORT].path)
    if not rows:
        return None
    concepts = frozenset(concept for row in rows for concept in row["concept"].split())
    pooled = pooled_tokens(inputs.artifacts[PATIENT_EMBEDDINGS].path)
    mine = [vocabulary.concepts[token - FIRST_CONCEPT] for token in pooled]
    shown = (concept.name for concept in mine if concept.concept in concepts and concept.concept in named)
    return Own(tuple(shown), len(pooled), concepts)
