"""The cohort's lists of codes: what they hold, and how many of their concepts have a part in the patients' vectors."""

from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline.events.build import read_mapping
from ehr_pipeline.fields import file_hash
from ehr_pipeline.reports.disclosure import Disclosure
from ehr_pipeline.reports.inputs import Inputs, read_json
from ehr_pipeline.terminology import code_lists
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

SHOWN = 200
"""Codes of a list that the page shows."""


@dataclass(frozen=True)
class Listed:
    """The list of one disease, as text."""

    name: str
    days: int
    """On how many days a code of it is recorded at least."""
    codes: str
    in_extract: str
    events: str
    without_concept: str
    digest: str
    """The first letters of the SHA-256 of the file."""
    rows: tuple[str, ...]
    """Codes (or CUIs) with their names; the first `SHOWN` of them. Empty where the file is no longer as it was."""


@dataclass(frozen=True)
class Own:
    """The cohort's own diseases among the concepts that decide a patient's vector."""

    names: tuple[str, ...]
    """Their concepts that are pooled, and of which enough patients have each."""
    pooled: int
    """How many concepts are pooled."""
    listed: frozenset[str]
    """All concepts of the lists, pooled or not."""


def listed(inputs: Inputs, disclosure: Disclosure) -> list[Listed]:
    """The list of each disease."""
    facts = inputs.artifacts["cohort"].counts["lists"]
    found = []
    for disease in inputs.settings["cohort"]["cohort"]:
        own = facts[disease["name"]]
        rows = code_lists.read(path) if (path := _path(inputs, disease["name"])) else []
        found.append(
            Listed(
                disease["name"],
                disease["min_visits"],
                f"{own['codes']:,}",
                f"{own['codes_in_extract']:,}",
                disclosure.show(own["events"]),
                disclosure.show(own["unmapped_events"], own["events"]),
                disease["concepts"][:16],
                tuple(f"{row.code or row.cui} {row.name}" for row in rows[:SHOWN]),
            )
        )
    return found


def own(inputs: Inputs, vocabulary: Vocabulary, disclosure: Disclosure) -> Own | None:
    """Which pooled concepts are of the cohort's own lists; None where a list is no longer as it was when the cohort was made."""
    paths = [_path(inputs, disease["name"]) for disease in inputs.settings["cohort"]["cohort"]]
    known = [path for path in paths if path]
    if len(known) < len(paths):
        return None
    mapping = read_mapping(inputs.artifacts["mapped_events"]).select("snomed", "concept").rows()
    concept_of_code = {code: concept for code, concept in mapping if concept}
    concepts = set().union(*(code_lists.concepts(path, concept_of_code) for path in known))
    pooled = read_json(inputs.artifacts["patient_embeddings"], "selected.json")
    mine = [vocabulary.concepts[token - FIRST_CONCEPT] for token in pooled]
    named = (concept.name for concept in mine if concept.concept in concepts and disclosure.named(concept.patients))
    return Own(tuple(named), len(pooled), frozenset(concepts))


def _path(inputs: Inputs, disease: str) -> Path | None:
    """The file of a disease's list, where it has the bytes that the cohort was made from."""
    (digest,) = (known["concepts"] for known in inputs.settings["cohort"]["cohort"] if known["name"] == disease)
    path = inputs.lists.get(disease)
    return path if path and file_hash(path) == digest else None
