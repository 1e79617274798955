"""The artifact of the tiny study: what the encoder says of pairs, what is suppressed, and the files."""

from dataclasses import replace
from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from transformers import AutoModelForMaskedLM

from ehr_pipeline.checks.relations import few_are_suppressed, two_are_compared
from ehr_pipeline.concepts.ontology import Ontology
from ehr_pipeline.concepts.table import read_vectors
from ehr_pipeline.disclosure.kinds import Plain
from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.relations import build, concept_selection, model, table
from ehr_pipeline.relations.pair_files import UserLists
from ehr_pipeline.relations.settings import RelationsSettings
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables import schemas
from ehr_pipeline.vocabulary.table import MASK, Vocabulary
from ehr_pipeline_tests.conftest import unpublished

NONE = np.zeros((0, 2), np.int64)


@pytest.fixture(scope="module")
def vocabulary(tiny: Pipeline) -> Vocabulary:
    return Vocabulary.read(tiny.store.current("vocabulary").path)


def test_the_pair_readout_is_that_of_the_stock_model(tiny: Pipeline, vocabulary: Vocabulary) -> None:
    encoder = tiny.store.current("encoder_checkpoint").file("checkpoint")
    loaded = checkpoint.load(encoder, vocabulary, torch.device("cpu"))
    stock = AutoModelForMaskedLM.from_pretrained(encoder).eval()
    tokens = model.Tokens.of([[10], [20, 21], [30]])
    found = model.pairs(loaded, tokens)
    expected = np.zeros((3, 3))
    for row, token in enumerate((10, 20, 30)):
        for age in model.AGES:
            ages = torch.tensor([[age + 1, age + 1]])
            with torch.no_grad():
                logits = stock(torch.tensor([[token, MASK]]), position_ids=ages).logits[0, 1]
            likely = logits.softmax(0).numpy()
            expected[row] += np.array([likely[10], likely[20] + likely[21], likely[30]]) / len(model.AGES)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    lift = model.lift(found)
    np.testing.assert_allclose(lift[0, 1], np.log(found[0, 1] / found[:, 1].mean()), rtol=1e-4)
    vectors = read_vectors(tiny.store.current("concept_embeddings").path)
    one, other = (vectors[token] - vectors[5:].mean(0) for token in (10, 30))
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert model.cosine(loaded, tokens)[0, 2] == pytest.approx(cosine, rel=1e-4)


def test_synonyms_count_as_one_and_unlisted_ones_are_counted_with_the_listed(vocabulary: Vocabulary) -> None:
    first, second, third = (vocabulary.concepts[place] for place in (0, 1, 2))
    listed = frozenset({first.concept, third.concept})
    pairs = np.array([[first.token_id, second.token_id]])
    found = concept_selection.choose(vocabulary, listed, RelationsSettings(), pairs)
    assert {frozenset(group) for group in found.groups} == {
        frozenset({first.token_id, second.token_id}),
        frozenset({third.token_id}),
    }
    most = max((first, second), key=lambda concept: concept.patients)
    assert found.groups[found.place_of[first.token_id]][0] == most.token_id
    assert found.places([(first.concept, third.concept), (first.concept, second.concept), ("no", "such")]).shape == (
        1,
        2,
    )


@pytest.mark.parametrize("listed", [0, 1])
def test_fewer_than_two_concepts_make_an_empty_artifact_and_the_check_says_what_to_do(
    tiny: Pipeline, vocabulary: Vocabulary, tmp_path: Path, listed: int
) -> None:
    names = [concept.concept for concept in vocabulary.concepts[:listed]] or ["C9999999"]
    records = build.Records(tiny.store.current("patient_dataset").files("patients"), "", 1)
    given = UserLists(frozenset(names), [], [], {})
    counts = build.build(records, Path("no encoder is read"), vocabulary, RelationsSettings(), tmp_path, given=given)
    whole = tiny.store.current("concept_relations").counts
    assert counts["kept"] == listed
    assert counts["rows_in"] == counts["kept"] + sum(counts["dropped"].values())
    assert (counts["patients"], counts["visits"]) == (whole["patients"], whole["visits"])
    assert not table.read(tmp_path).num_rows
    assert table.read_consensus(tmp_path) == table.read_orders(tmp_path) == []
    assert nx.read_graphml(tmp_path / table.NETWORK).number_of_nodes() == 0
    found, message, _ = two_are_compared(Artifact(tmp_path, {"counts": counts}), tiny.store, tiny.study)
    assert not found
    assert "relations.concepts" in message


def test_the_practices_of_patients_are_read_as_numbers_and_a_missing_column_as_not_known(tiny: Pipeline) -> None:
    paths = tiny.store.current("patient_dataset").files("patients")
    known = np.concatenate([one.practice for one in build.Records(paths, "practice", 1).sources()])
    names = [name for path in paths for name in schemas.read(path, ["practice"]).column("practice").to_pylist()]
    assert len({*zip(known.tolist(), names, strict=True)}) == len({*names}) == len({*known.tolist()}) > 1
    for column in ("", "no such column"):
        assert all((one.practice == -1).all() for one in build.Records(paths, column, 1).sources())


@pytest.fixture(scope="module")
def made(tiny: Pipeline, vocabulary: Vocabulary, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of other settings, so that some pairs agree, and with pairs that a user lists."""
    out = tmp_path_factory.mktemp("relations")
    concepts = [concept.concept for concept in sorted(vocabulary.concepts, key=lambda one: -one.patients)[:60]]
    pairs = [(concepts[0], one) for one in concepts[1:]]
    tree = Ontology({"root": {*concepts[:10]}}, {one: {one} for one in concepts}, {})
    given = UserLists(frozenset(concepts), pairs, pairs[:3], {"mine": [(concepts[0], concepts[1], 2.0)]}, tree)
    records = build.Records(tiny.store.current("patient_dataset").files("patients"), "", 1)
    encoder = tiny.store.current("encoder_checkpoint").file("checkpoint")
    build.build(records, encoder, vocabulary, RelationsSettings(max_q=0.5, best=4, names=True), out, given=given)
    return out


def test_the_table_lists_the_best_and_the_listed_pairs_and_hides_few(made: Path) -> None:
    rows = table.read(made).to_pylist()
    ranks: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        assert row["suppressed"] == (row["patients"] is None)
        if row["suppressed"]:
            assert row["value"] is row["low"] is row["high"] is row["q"] is row["rank"] is None
        else:
            assert row["patients"] >= 10
            ranks.setdefault((row["measure"], row["concept"]), []).append(row["rank"])
    assert any(row["suppressed"] for row in rows)
    assert all(sorted(listed)[:4] == [1, 2, 3, 4][: len(listed)] for listed in ranks.values())
    assert len({measure for measure, _ in ranks}) == 11


def test_the_check_finds_pairs_of_few_that_have_values(made: Path, tiny: Pipeline) -> None:
    """The artifact was made for fewer patients than a study asks for now: values and edges of a pair of few are found."""
    for fewest, passed in ((10, True), (10_000, False)):
        study = replace(tiny.study, relations=replace(tiny.study.relations, fewest_patients=fewest))
        found, message, figures = few_are_suppressed(unpublished(made), tiny.store, study)
        assert found is passed
        assert ("patients have values. This should not happen" in message) is not passed
        assert (figures["pairs"] == Plain(0)) is passed


def test_the_consensus_has_its_evidence_and_is_a_graph_for_viewers(made: Path) -> None:
    edges = table.read_consensus(made)
    assert edges
    for row in edges:
        assert row["patients"] >= 10
        assert row["odds_ratio"] > 1
        assert row["odds_ratio_q"] <= 0.5
    viewed = nx.read_graphml(made / table.NETWORK)
    assert viewed.number_of_edges() == len(edges)
    assert {viewed.nodes[row["first"]]["name"] for row in edges} == {row["first_name"] for row in edges}
    compared = table.read_graphs(made)
    assert {"consensus", "random", "mine", "model_pair", "jaccard_by_visit"} < set(compared["graphs"])
    assert compared["known"]["pairs"] == 3
    assert compared["graphs"]["random"]["edges"] == compared["graphs"]["model_pair"]["edges"] == 300


def test_names_and_ontology_are_graphs_and_tell_which_edges_are_new(made: Path) -> None:
    found = table.read_graphs(made)["graphs"]
    assert {"names", "ontology"} < set(found)
    assert found["names"]["edges"] == 300
    assert found["ontology"]["edges"] == found["ontology"]["edges_in_ontology"] == 45, "ten siblings"
    assert found["ontology"]["new_to_ontology"] == 0
    assert 0 <= found["random"]["edges_in_ontology"] < 45


def test_the_asset_of_the_chain_is_made_and_reused(tiny: Pipeline) -> None:
    again = tiny.concept_relations()
    assert again.skipped
    assert sorted(path.name for path in again.path.iterdir() if path.suffix in (".csv", ".parquet", ".graphml")) == [
        table.CONSENSUS,
        table.NETWORK,
        table.ORDERS,
        table.RELATIONS,
    ]
