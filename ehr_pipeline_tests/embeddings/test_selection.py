import numpy as np
import pytest

from ehr_pipeline.embeddings.selection import select
from ehr_pipeline.embeddings.settings import PoolingSettings
from ehr_pipeline.errors import InputError
from ehr_pipeline.vocabulary.table import Concept, Vocabulary

TYPES = {"C1": ("T047",), "C2": ("T201",), "C3": ("T201", "T184"), "C4": (), "C5": ("T033",)}
VOCABULARY = Vocabulary(
    tuple(Concept(token, name, name, TYPES[name], 1, 1) for token, name in enumerate(TYPES, start=5)), "x"
)
VECTORS = np.zeros((10, 2), np.float32)
VECTORS[5:] = [[1, 0], [0, 1], [1, 0.1], [0, 1.1], [-1, 0]]


def chosen(settings: PoolingSettings, listed: frozenset[str] = frozenset()) -> list[int]:
    return np.flatnonzero(select(settings, VOCABULARY, VECTORS, listed)).tolist()


def test_all_tokens_are_all_concepts_but_no_special_token() -> None:
    assert chosen(PoolingSettings(select="all")) == [5, 6, 7, 8, 9]


def test_one_matching_type_is_enough() -> None:
    assert chosen(PoolingSettings(select="types")) == [5, 7, 9]
    assert chosen(PoolingSettings(select="types", semantic_types=("T201",))) == [6, 7]


def test_a_list_is_extended_by_its_nearest_neighbours() -> None:
    listed = frozenset({"C1", "C2", "not there"})
    assert chosen(PoolingSettings(select="list", concepts="a list", neighbours=0), listed) == [5, 6]
    assert chosen(PoolingSettings(select="list", concepts="a list", neighbours=1), listed) == [5, 6, 7, 8]


def test_nothing_chosen_is_told() -> None:
    with pytest.raises(InputError, match="No concept of the vocabulary is chosen for pooling"):
        chosen(PoolingSettings(select="types", semantic_types=("T999",)))
