"""Trained attention between chunks: it begins as the parameter-free one, learns what tells patients apart, and repeats itself."""

import numpy as np
import pytest
import torch

from ehr_pipeline.embeddings import aggregator
from ehr_pipeline.embeddings.pooling import ChunkVectors, attend


def chunks(rng: np.random.Generator, own: np.ndarray, noise: float) -> ChunkVectors:
    """Per patient one chunk that tells who it is, and two of noise that tell nothing but are marked by the last axis."""
    vectors, patient = [], []
    for number, vector in enumerate(own):
        vectors += [np.append(vector, 0), *(np.append(rng.normal(size=len(vector)) * noise, 3) for _ in range(2))]
        patient += [number] * 3
    ones = np.ones(len(patient))
    return ChunkVectors(
        np.array(vectors, np.float32), np.array(patient), ones.astype(np.float32), ones.astype(np.int64)
    )


def test_identities_are_the_parameter_free_attention() -> None:
    vectors = torch.from_numpy(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32))
    assert torch.allclose(aggregator.attend(torch.eye(4), torch.eye(4), vectors), attend(vectors))


def test_it_learns_which_chunks_tell_who_a_patient_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aggregator, "LOOKS", 10)
    rng = np.random.default_rng(1)
    own = rng.normal(size=(300, 7))
    halves = (chunks(rng, own, 2.0), chunks(rng, own, 2.0))
    facts = aggregator.train([halves], seed=3).facts
    assert (facts["patients"], facts["kept"]) == (300, "trained")
    assert facts["validation_loss"] < facts["plain_validation_loss"] - 0.1
    monkeypatch.setattr(aggregator, "LOOKS", 1)
    once, again = (aggregator.train([halves], seed=3) for _ in range(2))
    assert again.facts == once.facts
    assert all(np.array_equal(again.arrays[name], array) for name, array in once.arrays.items())


def test_training_and_use_are_the_same_attention() -> None:
    rng = np.random.default_rng(2)
    pieces = [torch.from_numpy(rng.normal(size=(count, 4)).astype(np.float32)) for count in (1, 4, 2)]
    query, key = (torch.from_numpy(rng.normal(size=(4, 4)).astype(np.float32)) for _ in range(2))
    together = aggregator._aggregate(pieces, query, key)
    alone = torch.stack([aggregator.attend(query, key, piece).mean(0) for piece in pieces])
    assert torch.allclose(together, alone, atol=1e-5)


def test_one_patient_alone_trains_nothing() -> None:
    rng = np.random.default_rng(4)
    trained = aggregator.train([(chunks(rng, np.ones((1, 3)), 1.0), chunks(rng, np.ones((1, 3)), 1.0))], seed=0)
    assert np.array_equal(trained.arrays["query"], np.eye(4))
