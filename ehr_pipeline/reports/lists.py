"""The cohort's lists of codes: what they stand for, and how many of their concepts have a part in the patients' vectors."""

from collections.abc import Collection
from dataclasses import dataclass

from ehr_pipeline.cohort.members import LISTS
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.disclosure.figures import HIDDEN
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports.inputs import Inputs, read_json
from ehr_pipeline.tables.asset_names import COHORT, PATIENT_EMBEDDINGS
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
    concepts: str
    """How many concepts the list stands for."""
    in_extract: str
    """How many of them the extract holds."""
    events: str
    without_concept: str
    """How many rows stand for no concept."""
    lost: str
    """Events of listed codes that have no concept."""
    digest: str
    """The first letters of the SHA-256 of the file."""
    rows: tuple[str, ...]
    """Codes (or CUIs) with their names; the first `SHOWN` of them."""


@dataclass(frozen=True)
class Own:
    """The cohort's own diseases among the concepts that decide a patient's vector."""

    names: tuple[str, ...]
    """Their concepts that are pooled."""
    pooled: int
    """How many concepts are pooled."""
    listed: frozenset[str]
    """All concepts of the lists, pooled or not."""


def listed(inputs: Inputs, disclosure: Disclosure) -> list[Listed]:
    """The list of each disease."""
    facts, patients = (inputs.artifacts[COHORT].counts[name] for name in ("lists", "by_disease"))
    rows = _rows(inputs)
    found = []
    for disease in inputs.settings[COHORT]["cohort"]:
        if not disease["concepts"]:  # every patient is a case
            found.append(Listed(disease["name"], disease["min_visits"], "–", "–", "–", "–", "–", "–", "", ()))
            continue
        own = facts[disease["name"]]
        mine = [row for row in rows if row["disease"] == disease["name"]]
        few = disclosure.small(patients.get(disease["name"], 0))  # whose events would tell how few they are
        found.append(
            Listed(
                disease["name"],
                disease["min_visits"],
                f"{own['codes']:,}",
                f"{own['concepts']:,}",
                f"{own['concepts_in_extract']:,}",
                HIDDEN if few and own["events"] else disclosure.show(own["events"]),
                f"{own['rows_without_concept']:,}",
                HIDDEN if few and own["unmapped_events"] else disclosure.show(own["unmapped_events"], own["events"]),
                disease["concepts"][:16],
                tuple(f"{row['code'] or row['cui']} {row['name']}" for row in mine[:SHOWN]),
            )
        )
    return found


def own(inputs: Inputs, vocabulary: Vocabulary, named: Collection[str]) -> Own | None:
    """Which pooled concepts are of the cohort's own lists, as far as they may be `named`; None where no list chose the cohort."""
    rows = _rows(inputs)
    if not rows:
        return None
    concepts = frozenset(concept for row in rows for concept in row["concept"].split())
    pooled = read_json(inputs.artifacts[PATIENT_EMBEDDINGS], "selected.json")
    mine = [vocabulary.concepts[token - FIRST_CONCEPT] for token in pooled]
    shown = (concept.name for concept in mine if concept.concept in concepts and concept.concept in named)
    return Own(tuple(shown), len(pooled), concepts)


def _rows(inputs: Inputs) -> list[dict[str, str]]:
    """The rows of all lists, with what each stands for."""
    with inputs.artifacts[COHORT].file(LISTS).open(encoding="utf-8", newline="") as stream:
        return list(spreadsheet.rows(stream))
