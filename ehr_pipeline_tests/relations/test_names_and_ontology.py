"""What names and an ontology tell of pairs, as graphs beside the measures."""

import json
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from ehr_pipeline.concepts.ontology import Ontology
from ehr_pipeline.encoder import vectors_from_names
from ehr_pipeline.errors import InputError
from ehr_pipeline.relations import names_and_ontology, sentence_encoder
from ehr_pipeline.vocabulary.table import Concept


def concept(name: str, concept: str = "C") -> Concept:
    return Concept(5, concept, name, (), 1, 1)


def test_names_that_share_pieces_are_alike_and_a_code_is_no_name() -> None:
    some = [concept("Type 2 diabetes"), concept("Type 1 diabetes"), concept("Asthma"), concept("SCT:1", "SCT:1")]
    found = names_and_ontology.name_cosines(some, vectors_from_names.vectors)
    assert found[0, 1] > 0.5 > found[0, 2]
    assert np.isnan(found[3]).all()
    assert np.isnan(names_and_ontology.name_cosines(some[3:], vectors_from_names.vectors)).all()


TREE = {"root": {"skin", "joint"}, "skin": {"psoriasis", "eczema"}, "joint": {"arthritis", "psoriatic arthritis"}}
TREE |= {"psoriasis": {"psoriatic arthritis", "nail psoriasis"}, "lone": set()}
ORDER = ["psoriasis", "eczema", "arthritis", "psoriatic arthritis", "nail psoriasis", "nowhere", "lone"]


@pytest.fixture
def tree() -> Ontology:
    """Each node stands for a concept of its name."""
    nodes = TREE.keys() | {child for children in TREE.values() for child in children}
    return Ontology(TREE, {node: {node} for node in nodes}, {})


def test_steps_are_the_shortest_way_up_and_down(tree: Ontology) -> None:
    found = names_and_ontology.near(tree, [concept(name, name) for name in ORDER], np.ones(len(ORDER), int))
    graph = nx.DiGraph([(child, parent) for parent, children in TREE.items() for child in children])
    for i, one in enumerate(ORDER[:5]):
        up = nx.single_source_shortest_path_length(graph, one)
        for j, other in enumerate(ORDER[:5]):
            also = nx.single_source_shortest_path_length(graph, other)
            assert found.steps[i, j] == min(up[node] + also[node] for node in up.keys() & also.keys())
    assert (found.steps[5] == names_and_ontology.FAR).all()
    assert np.isnan(found.similarity[5]).all()
    assert found.known.tolist() == [True] * 5 + [False, True]
    assert (found.steps[6, :5] == names_and_ontology.FAR).all(), "the ontology does not connect them"
    assert (found.similarity[6, :5] == 0).all()


def test_similarity_is_that_of_lin(tree: Ontology) -> None:
    """Psoriasis: its own 10 patients, 20 with psoriatic arthritis and 10 with nail psoriasis below it, of 100."""
    patients = np.array([10, 40, 15, 20, 10, 999, 5])
    found = names_and_ontology.near(tree, [concept(name, name) for name in ORDER], patients)
    information = {"psoriasis": -np.log(0.4), "psoriatic arthritis": -np.log(0.2), "joint": -np.log(0.35)}
    expected = 2 * information["psoriasis"] / (information["psoriasis"] + information["psoriatic arthritis"])
    assert found.similarity[0, 3] == pytest.approx(expected)
    expected = 2 * information["joint"] / (-np.log(0.15) + information["psoriatic arthritis"])
    assert found.similarity[2, 3] == found.similarity[3, 2] == pytest.approx(expected)
    np.testing.assert_allclose(found.similarity.diagonal()[[0, 1, 2, 3, 4, 6]], 1)


def test_new_edges_are_those_further_than_two_steps(tree: Ontology) -> None:
    found = names_and_ontology.near(tree, [concept(name, name) for name in ORDER], np.ones(len(ORDER), int))
    edges = np.array([[0, 1], [0, 3], [1, 2], [0, 5]])  # siblings, child, through the root, one that is not there
    assert names_and_ontology.new_edges(edges, found) == {
        "edges_in_ontology": 3,
        "new_to_ontology": pytest.approx(1 / 3),
    }
    assert names_and_ontology.new_edges(edges[3:], found) == {"edges_in_ontology": 0, "new_to_ontology": 0.0}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT with random weights, and its tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("sentences")
    words = {word: number for number, word in enumerate(("[PAD]", "[UNK]", "skin", "rash", "of", "arm"))}
    tokenizer = Tokenizer(models.WordLevel(words, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), **size)).save_pretrained(folder)
    return folder


def test_a_name_has_the_same_vector_beside_a_longer_one(encoder: Path) -> None:
    read = sentence_encoder.load(encoder)
    alone, beside = read.vectors(["skin rash"]), read.vectors(["skin rash of arm", "skin rash"])
    assert beside.shape == (2, 16)
    np.testing.assert_allclose(alone[0], beside[1], atol=1e-5)
    assert np.abs(beside[0] - beside[1]).max() > 1e-3
    found = names_and_ontology.name_cosines([concept("skin rash"), concept("skin rash")], read.vectors)
    np.testing.assert_allclose(found, 1, atol=1e-5)


def test_a_folder_without_an_encoder_is_told_by_the_name_of_its_setting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"relations\.sentence_encoder"):
        sentence_encoder.load(tmp_path / "nothing")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(InputError, match=r"relations\.sentence_encoder"):
        sentence_encoder.load(tmp_path)
