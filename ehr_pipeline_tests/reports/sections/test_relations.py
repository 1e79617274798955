"""Which diseases go together: no pair of few patients is on the page, in text, table or picture, and no exact count."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pyarrow as pa
import pytest

from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.drawing import network
from ehr_pipeline.relations import table, writing
from ehr_pipeline.reports.cohort_lists import DiseaseConcepts
from ehr_pipeline.reports.findings import Findings
from ehr_pipeline.reports.sections import relations
from ehr_pipeline.reports.statements import relations as say
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables.asset_names import CONCEPT_RELATIONS
from ehr_pipeline_tests.reports.test_disease_partners import BELOW, WHOLE, edge

NAMES = {"C1": "Psoriasis", "C2": "Uveitis", "C3": "Rarity", "C4": "Gout"}


def pair(first: str, second: str, patients: int) -> dict[str, Any]:
    own = edge(patients) | {
        "first": first,
        "second": second,
        "first_name": NAMES[first],
        "second_name": NAMES[second],
    }
    return dict.fromkeys(table.EDGES.names) | {"graphs": "", "community_of_first": 0, "community_of_second": 0} | own


@pytest.fixture
def findings(tmp_path: Path) -> Findings:
    """Two pairs: one of many patients, one of so few that the rule for names hides it."""
    return made(tmp_path, [pair("C1", "C2", 123), pair("C1", "C3", BELOW)])


def made(tmp_path: Path, rows: list[dict[str, Any]]) -> Findings:
    """What the section reads of an artifact with these pairs."""
    writing.write_consensus(tmp_path, pa.Table.from_pylist(rows, table.EDGES))
    writing.write_orders(tmp_path, table.EDGES.empty_table())
    figures = {"hubness": 0.5, "partners_outside_group": 0.5, "modularity": 0.5, "edges": 2}
    writing.write_graphs(tmp_path, {"graphs": {"consensus": figures, "random": figures}, "agreement": []})
    settings = {"max_q": 0.05, "fewest_patients": BELOW, "after_days": 730}
    counts = {"patients": WHOLE, "rows_in": 250, "kept": 3, table.PRACTICES: 24}
    artifact = Artifact(tmp_path, {"settings": settings, "counts": counts})
    naming = Naming(BELOW, "key")
    assert not naming.shows("C1 C3", BELOW)
    inputs = SimpleNamespace(artifacts={CONCEPT_RELATIONS: artifact}, naming=lambda below: naming, seed=1)
    found = SimpleNamespace(
        inputs=inputs, disclosure=Disclosure(BELOW), named=frozenset(NAMES), disease_concepts=None, pictures=tmp_path
    )
    return cast(Findings, found)


def test_a_pair_of_few_patients_is_nowhere(findings: Findings, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    matrix = network.matrix

    def noted(path: Path, names: list[str], *rest: Any) -> None:
        drawn.extend(names)
        matrix(path, names, *rest)

    monkeypatch.setattr(network, "matrix", noted)
    found = relations.content(findings)
    assert {name for name, *_ in found["listed"]} == {*drawn} == {"Psoriasis", "Uveitis"}
    told = " ".join(str(value) for name, value in found.items() if name != "matrix")
    assert "Rarity" not in told
    assert "123" not in told, "counts are rounded"
    assert "about 120 patients with both" in found["network"]


def test_a_pair_that_is_only_in_order_is_told_as_that_and_no_pair_of_few(
    findings: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [pair("C2", "C4", 123), pair("C1", "C3", BELOW), pair("C4", "C1", 99)]
    writing.write_orders(tmp_path, pa.Table.from_pylist(rows, table.EDGES))
    found = relations.content(findings)
    assert [(first, later.name, later.order) for first, later in found["orders"]] == [
        ("Uveitis", "Gout", "later"),
        ("Gout", "Psoriasis", "later"),
    ]
    assert str(found["orders_are"][0]).startswith("These pairs are not shown to go together")
    assert "Gout" not in str(found["listed"]) + found["network"]
    assert "left out" not in str(found["orders_are"][0])
    assert "In 2 other pairs, one concept follows the other" in " ".join(map(str, found["lead"]))
    monkeypatch.setattr(relations, "MOST_ORDERS", 1)
    assert "1 further pair is left out" in str(relations.content(findings)["orders_are"][0])
    writing.write_orders(tmp_path, table.EDGES.empty_table())
    assert not relations.content(findings)["orders_are"]


def test_concepts_without_a_row_are_not_called_diseases(findings: Findings) -> None:
    """A disease has several concepts on its list: all five diseases had rows, and "2 further diseases" were said to have none."""
    vars(findings)["disease_concepts"] = DiseaseConcepts((), 9, frozenset({"C1", "C3", "C4", "C9"}))
    told = str(relations.content(findings)["without"])
    assert told.startswith(
        "2 concepts on the lists of the cohort’s diseases (of those that may be shown) are not in the table: not compared"
    ), "C9 is unnamed"
    assert "further disease" not in told
    vars(findings)["disease_concepts"] = DiseaseConcepts((), 9, frozenset({"C1", "C2"}))
    assert relations.content(findings)["without"] is None
    assert "1 further concept with partners is left out to keep the table short." in str(say.hidden_partners(0, 1))


def test_a_code_of_the_same_disease_is_no_comorbidity(findings: Findings) -> None:
    """Scalp psoriasis was said to go together with psoriasis."""
    lists = (frozenset({"C1", "C2"}), frozenset({"C3"}))
    vars(findings)["disease_concepts"] = DiseaseConcepts((), 9, frozenset({"C1", "C2", "C3"}), lists)
    partners = [one.name for _, found, _ in relations.content(findings)["listed"] for one in found]
    assert partners == [
        "Uveitis (same disease: on its list of codes)",
        "Psoriasis (same disease: on its list of codes)",
    ]
    lists = (frozenset({"C1"}), frozenset({"C2", "C3"}))
    vars(findings)["disease_concepts"] = DiseaseConcepts((), 9, frozenset({"C1", "C2", "C3"}), lists)
    assert "same disease" not in str(relations.content(findings)["listed"])


def test_what_is_left_out_of_the_picture_and_of_a_list_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list of 8 partners and a picture of 80 pairs looked like all there are."""
    rows = [pair("C1", "C2", 250), pair("C1", "C3", 200), pair("C1", "C4", 150)]
    whole = relations.content(made(tmp_path, rows))
    assert str(whole["legend"]).startswith("All pairs that can be shown.")
    assert [more for *_, more in whole["listed"]] == [None] * 4
    monkeypatch.setattr(relations, "MOST_EDGES", 2)
    monkeypatch.setattr(relations, "MOST_PARTNERS", 1)
    found = relations.content(made(tmp_path, rows))
    assert str(found["legend"]).startswith(
        "The 2 of 3 pairs with the most evidence; the command ehr-pipeline relations lists all."
    )
    (name, partners, more), *others = found["listed"]
    assert (name, [one.name for one in partners]) == ("Psoriasis", ["Uveitis"])
    assert str(more) == "and 2 further concepts with less evidence"
    assert not any(further for *_, further in others)
    assert str(found["lead"][1]).startswith("3 pairs of 3 concepts can be shown.")


def test_it_is_said_in_whom_pairs_were_counted(findings: Findings) -> None:
    told = str(relations.content(findings)["lead"][-1])
    assert told == f"All patients of the data set (about {WHOLE:,}) are counted, in clusters or not."


def test_the_number_of_tests_stands_beside_the_false_discovery_rate(findings: Findings) -> None:
    rule = str(relations.content(findings)["lead"][0])
    assert "a false discovery rate of 0.05 over all 3 pairs of 3 concepts" in rule
    assert "at a false discovery rate of 0.05 over all 8,778 pairs" in str(say.order(730, 0.05, 133))


def test_it_is_said_whether_the_habits_of_practices_are_taken_into_account(findings: Findings) -> None:
    def told() -> tuple[bool, bool]:
        found = relations.content(findings)
        return "habits of their practices" in str(found["lead"][0]), "practices are not known" in str(found["notes"])

    assert told() == (True, False)
    findings.inputs.artifacts[CONCEPT_RELATIONS].manifest["counts"][table.PRACTICES] = 0
    assert told() == (False, True)


def test_it_is_said_that_pairs_are_missed_among_few_concepts(findings: Findings) -> None:
    assert "easily missed" not in str(relations.content(findings)["lead"])
    findings.inputs.artifacts[CONCEPT_RELATIONS].manifest["counts"]["rows_in"] = 25
    assert "the vocabulary has only 25 concepts" in str(relations.content(findings)["lead"])


@pytest.mark.parametrize(("pairs", "head"), [(BELOW - 1, ["New"]), (BELOW, ["New", "Known"])])
def test_new_edges_and_known_pairs_stand_beside_the_graphs(findings: Findings, pairs: int, head: list[str]) -> None:
    """The precision of a few known pairs would be the rank of each, so it is not shown."""
    own = {"hubness": 0.5, "partners_outside_group": 0.5, "modularity": 0.5, "edges": 2, "edges_in_ontology": 2}
    known = {"pairs": pairs, "average_precision": {"consensus": 0.75, "random": 0.25}}
    graphs = {"consensus": own | {"new_to_ontology": 0.5}, "random": own | {"new_to_ontology": 1.0}}
    path = findings.inputs.artifacts[CONCEPT_RELATIONS].path
    writing.write_graphs(path, {"graphs": graphs, "agreement": [], "known": known})
    found = relations.content(findings)
    assert found["head"][4:] == head
    assert all(len(row) == 1 + len(found["head"]) for row in found["graphs"])
    assert found["graphs"][0][5:] == ("0.50", "0.75")[: len(head)]
    assert ("knows from other sources" in str(found["graphs_are"])) == ("Known" in head)


@pytest.mark.parametrize(
    ("kept", "told"), [(0, "none of the concepts to compare"), (1, "one of the concepts to compare")]
)
def test_an_artifact_without_a_pair_has_one_sentence_on_the_page(findings: Findings, kept: int, told: str) -> None:
    artifact = findings.inputs.artifacts[CONCEPT_RELATIONS]
    writing.write_empty(artifact.path)
    artifact.manifest["counts"]["kept"] = kept
    found = relations.content(findings)
    (sentence,) = found["lead"]
    assert told in str(sentence)
    assert not found["listed"]
    assert not found["graphs"]
    assert not found["graphs_are"]
