"""What the page tells of the cohort's lists of codes."""

from dataclasses import replace
from typing import Any

import pytest

from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.reports import cohort_lists
from ehr_pipeline.reports.inputs import Inputs
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.vocabulary.table import Vocabulary

NAMES = ("cohort", "mapped_events", "patient_embeddings", "vocabulary")


@pytest.fixture
def inputs(tiny: Pipeline) -> Inputs:
    artifacts = {name: tiny.store.current(name) for name in NAMES}
    settings: dict[str, Any] = {"cohort": artifacts["cohort"].manifest["settings"]}
    return Inputs("tiny", [], artifacts, settings, 0, {})


def test_the_codes_of_the_cohorts_diseases_are_among_the_pooled_concepts(inputs: Inputs) -> None:
    vocabulary = Vocabulary.read(inputs.artifacts["vocabulary"].path)
    own = cohort_lists.disease_concepts(inputs, vocabulary, vocabulary.token_of)
    assert own is not None
    assert "Psoriasis" in own.names
    assert 1 <= len(own.names) < own.pooled == inputs.artifacts["patient_embeddings"].counts["selected_concepts"]


def test_a_concept_that_nobody_has_any_more_is_not_named(inputs: Inputs) -> None:
    vocabulary = Vocabulary.read(inputs.artifacts["vocabulary"].path)
    left = [replace(one, patients=0) if one.name == "Psoriasis" else one for one in vocabulary.concepts]
    own = cohort_lists.disease_concepts(
        inputs, vocabulary, replace(vocabulary, concepts=tuple(left)).nameable(Naming(1, ""))
    )
    assert own is not None
    assert "Psoriasis" not in own.names


def test_each_list_is_told_with_its_file_and_codes(inputs: Inputs) -> None:
    told = {row["name"]: row for row in cohort_lists.listed(inputs, Disclosure(10))}
    (digest,) = (one["concepts"] for one in inputs.settings["cohort"]["cohort"] if one["name"] == "Psoriasis")
    row = told["Psoriasis"]
    assert (row["days"], row["codes"], row["digest"]) == (1, "98", digest[:16])
    assert 1 <= int(row["concepts_in_extract"]) <= int(row["concepts"]) <= 98
    assert "9014002 Psoriasis" in row["rows"]
    assert {row["events"] for row in cohort_lists.listed(inputs, Disclosure(10**9))} <= {"–", "0"}, (
        "those of few patients"
    )
