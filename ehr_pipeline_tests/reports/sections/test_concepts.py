"""The concept check: types of neighbours beside chance, and which rows are shown."""

import csv
from pathlib import Path

import pytest

from ehr_pipeline.concepts.table import read_neighbours
from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.reports.sections import concepts as section
from ehr_pipeline.reports.statements.concepts import TypeAgreement
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Concept, Vocabulary

HEAD = "concept,name,scope,rank,neighbour,neighbour_name,cosine\n"
TYPES = {"A": ("T1",), "B": ("T1", "T2"), "C": ("T2",), "D": ("T3",), "E": ()}
VOCABULARY = Vocabulary(
    tuple(Concept(5 + n, name, name, own, 1, 1) for n, (name, own) in enumerate(TYPES.items())), "x"
)


def check(folder: Path, *pairs: str, only: set[str] | None = None) -> TypeAgreement | None:
    rows = [f"{one},{one},whole vocabulary,1,{other},{other},0.5\n" for one, other in pairs]
    (folder / "neighbours.csv").write_text(HEAD + "".join(rows) + "A,A,concepts of interest,1,D,D,0.5\n")
    return section.type_agreement(read_neighbours(folder), VOCABULARY, only)


def test_shares_of_one_type_stand_beside_chance(tmp_path: Path) -> None:
    found = check(tmp_path, "AB", "AD", "DA", "AE")
    assert found is not None
    assert (found.concepts, found.share) == (2, 0.25), "half of A's typed neighbours, none of D's"
    assert found.chance == pytest.approx((1 / 3 + 0) / 2), (
        "of the three others with a type, one is of A's and none of D's"
    )
    own = check(tmp_path, "AB", "AD", "DA", only={"D"})
    assert own is not None
    assert (own.concepts, own.share, own.low) == (1, 0.0, float("-inf"))
    assert check(tmp_path, "AB", only={"Z"}) is None


def test_the_cohorts_own_diseases_stand_first(tiny: Pipeline) -> None:
    concepts = tiny.store.current("concept_embeddings")
    with concepts.file("neighbours.csv").open(newline="") as stream:
        name_of = {row["concept"]: row["name"] for row in csv.DictReader(stream)}
    last = list(name_of)[-2:]
    near = read_neighbours(concepts.path)
    rows = section._neighbours(near, set(last), Vocabulary.read(tiny.store.current("vocabulary").path).token_of)
    assert [row["name"] for row in rows[:2]] == [name_of[concept] for concept in last]
    assert len(rows) == len(name_of)


def test_concepts_of_few_patients_are_not_named(tmp_path: Path, tiny: Pipeline) -> None:
    (tmp_path / "neighbours.csv").write_text(
        HEAD + "".join(f"{one},{one},whole vocabulary,1,{other},{other},0.5\n" for one, other in ("AB", "AC", "CA"))
    )
    (row,) = section._neighbours(read_neighbours(tmp_path), (), {"A", "B"})
    assert (row["name"], row["whole vocabulary"]) == ("A", ["B"])


@pytest.mark.parametrize(("patients", "named"), [(0, False), (1, False), (9, False), (10, False), (20, True)])
def test_a_concept_is_named_by_how_many_patients_have_it_now(patients: int, named: bool) -> None:
    vocabulary = Vocabulary((Concept(FIRST_CONCEPT, "C", "concept", (), 30, patients),), "")
    assert vocabulary.nameable(Naming(10, "key")) == ({"C"} if named else set())
