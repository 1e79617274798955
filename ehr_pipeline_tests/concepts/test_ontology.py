"""Neighbours in the groups of an ontology, against chance."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ehr_pipeline.concepts import ontology
from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.errors import InputError
from ehr_pipeline.planning import preflight
from ehr_pipeline.relations.table import read_graphs
from ehr_pipeline.reports.sections import concepts as section
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.terminology import obo, rf2
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Concept, Vocabulary
from ehr_pipeline_tests.conftest import tiny_settings
from ehr_pipeline_tests.terminology.test_rf2 import write

OBO = """format-version: 1.2

[Term]
id: D:1
name: disease

[Term]
id: D:2
name: skin disease
is_a: D:1 ! disease

[Term]
id: D:3
name: eczema
xref: UMLS_CUI:C3
xref: SNOMEDCT_US_2023_03_01:33 "note"
xref: MESH:X
is_a: D:2 {source="x"} ! skin disease

[Term]
id: D:4
name: gut disease
is_a: D:1

[Term]
id: D:5
name: both
xref: UMLS_CUI:C5
is_a: D:3
is_a: D:4

[Typedef]
id: part_of
name: part of
"""


def test_an_obo_file(tmp_path: Path) -> None:
    (tmp_path / "d.obo").write_text(OBO)
    terms = obo.read(tmp_path / "d.obo")
    assert set(terms) == {"D:1", "D:2", "D:3", "D:4", "D:5"}
    assert terms["D:3"] == obo.Term(["eczema"], ["D:2"], ["C3"], ["33"])
    known = ontology.Ontology.read((str(tmp_path / "d.obo"),), {"33": "C33", "44": "C44"})
    assert known.groups(("D:1",)) == {"D:2": {"C3", "C33", "C5"}, "D:4": {"C5"}}
    with pytest.raises(InputError, match=r"None of X \(concepts\.groups_below\) has children"):
        known.groups(("X",))
    (tmp_path / "e.obo").write_text("id: x\n")
    with pytest.raises(InputError, match="no term has a parent"):
        obo.read(tmp_path / "e.obo")


def test_a_relationship_file(tmp_path: Path) -> None:
    isa = {"typeId": rf2.IS_A, "active": "1"}
    pairs = (("2", "1"), ("4", "1"), ("3", "2"), ("5", "3"), ("5", "4"), ("3", "5"))  # the last makes a circle
    rows = [isa | {"sourceId": child, "destinationId": parent} for child, parent in pairs]
    path = write(tmp_path / "r.txt", rf2.RELATIONSHIP, *rows)
    known = ontology.Ontology.read((path,), {"3": "C3", "5": "C5", "2": "C2", "9": "C9"})
    assert known.groups(("0", "1")) == {"2": {"C2", "C3", "C5"}, "4": {"C3", "C5"}}


def grouped(size: int = 60, kinds: int = 3) -> tuple[Vocabulary, dict[str, set[str]]]:
    """Concept `n` has `n` patients."""
    concepts = [Concept(FIRST_CONCEPT + n, f"C{n}", f"concept {n}", (), n, n) for n in range(size)]
    return Vocabulary(tuple(concepts), ""), {
        f"g{kind}": {f"C{n}" for n in range(kind, size, kinds)} for kind in range(kinds)
    }


def by_token(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.vstack([np.zeros((FIRST_CONCEPT, vectors.shape[1])), vectors]).astype(np.float32)


def test_vectors_that_follow_the_groups() -> None:
    vocabulary, groups = grouped()
    rng = np.random.default_rng(0)
    centres = np.eye(3, 8)[np.arange(60) % 3]
    vectors = by_token(centres + 0.1 * rng.normal(size=(60, 8)))
    found = ontology.agreement(vectors, vocabulary, groups, {"g0": "skin"}, neighbours=5, seed=0)
    assert found["share"] == 1
    assert found["chance"] == pytest.approx(19 / 59, abs=1e-4)
    assert found["excess_interval"][0] > 0.6
    assert found["by_group"][2] == {
        "group": "skin",
        "concepts": 20,
        "patients": 57,
        "share": 1.0,
        "chance": 0.322,
    }


def test_vectors_that_do_not() -> None:
    vocabulary, groups = grouped(300)
    groups["all but some"] = {f"C{number}" for number in range(100)}  # a second group of many
    covered = 0
    for seed in range(10):
        vectors = by_token(np.random.default_rng(seed).normal(size=(300, 8)))
        found = ontology.agreement(vectors, vocabulary, groups, {}, neighbours=5, seed=seed)
        low, high = found["excess_interval"]
        covered += low <= 0 <= high
    assert covered >= 8
    alike = [
        np.mean([any({f"C{a}", f"C{b}"} <= own for own in groups.values()) for b in range(300) if b != a])
        for a in range(300)
    ]
    assert found["chance"] == pytest.approx(np.mean(alike), abs=1e-4)


def test_too_few_concepts_say_nothing() -> None:
    vocabulary, groups = grouped(12)
    vectors = by_token(np.ones((12, 4)))
    found = ontology.agreement(vectors, vocabulary, groups | {"none": {"X"}}, {}, neighbours=5, seed=0)
    assert found == {"concepts": 12, "groups": 3, "neighbours": 5}
    assert ontology.agreement(vectors, vocabulary, {"none": {"X"}}, {}, neighbours=5, seed=0)["concepts"] == 0


@pytest.mark.slow
def test_the_page_tells_it(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    page = tiny.store.current("cluster_reports").file("report.html").read_text(encoding="utf-8")
    assert "was not measured, because no ontology is set (concepts.ontology)" in page
    with tiny.store.current("mapped_events").file("mapping.csv").open(encoding="utf-8") as stream:
        codes = [row["snomed"] for row in csv.DictReader(stream) if row["concept"]]
    isa = {"typeId": rf2.IS_A, "active": "1"}
    rows = [isa | {"sourceId": group, "destinationId": "1"} for group in codes[:3]]
    rows += [isa | {"sourceId": code, "destinationId": codes[n % 3]} for n, code in enumerate(codes[3:])]
    path = write(tmp_path / "r.txt", rf2.RELATIONSHIP, *rows)
    concepts = {"ontology": [path], "groups_below": ["1"]}
    # The store of the other tests stays as it is: this one holds nothing but what the concepts need.
    study = tiny_settings(extract, concepts=concepts)
    assert not [problem for problem in preflight.inspect(study).problems if "r.txt" in problem]
    made = Pipeline(study)
    made.store = tiny.store
    before, relations = tiny.store.current("concept_embeddings"), tiny.store.current("concept_relations")
    try:
        found = made.concept_embeddings().counts["ontology"]
        assert "by_group" not in found, "names of groups stand in no counts"
        assert found["groups"] == 3
        assert found["concepts"] > 100
        assert found["excess_interval"][0] <= 0.02  # groups by their number mean nothing
        compared = read_graphs(made.concept_relations().path)["graphs"]
        assert compared["ontology"]["edges_in_ontology"] > 0
        page = made.cluster_reports().file("report.html").read_text(encoding="utf-8")
    finally:
        assert tiny.concept_relations().data_version == relations.data_version
        assert tiny.concept_embeddings().data_version == before.data_version
        tiny.cluster_reports()
    assert "belong to one of the groups of the concept;" in page
    assert "Ontology: similarity of Lin" in page


@pytest.mark.parametrize(("patients", "named"), [(0, False), (10, False), (20, True)])
def test_a_group_of_few_patients_is_not_named(tmp_path: Path, patients: int, named: bool) -> None:
    found = {"concepts": 40, "by_group": [{"group": "rare", "patients": patients}]}
    (tmp_path / "ontology.json").write_text(json.dumps(found))
    artifact = Artifact(tmp_path, {"counts": {"ontology": {"concepts": 40}}})
    told = section._ontology(artifact, Naming(10, "key"))
    assert told is not None
    assert [row["group"] for row in told["by_group"]] == (["rare"] if named else [])


def test_a_missing_file_is_told(tiny: Pipeline, extract: Path) -> None:
    made = Pipeline(tiny_settings(extract, concepts={"ontology": ["nowhere.obo"]}))
    made.store = tiny.store
    with pytest.raises(InputError, match=r"nowhere\.obo: there is no such file\. It is set in concepts\.ontology"):
        made.concept_embeddings()
    assert any("nowhere.obo" in problem for problem in preflight.inspect(made.study).problems)
