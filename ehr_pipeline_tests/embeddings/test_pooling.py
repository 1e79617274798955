from pathlib import Path

import numpy as np
import pytest
import torch

from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.embeddings.pooling import Pooled, attend, over_chunks, pool_chunks
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.sequences import Sequences, cut
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.encoder.data import write_shard
from ehr_pipeline_tests.encoder.stock_class import stock_of

SETTINGS = EncoderSettings(hidden_size=16, layers=1, heads=2, feed_forward=32, dropout=0.0, attention_dropout=0.0)
HOW = Inference(context=4, age_unit="year", max_positions=514, batch_tokens=256, precision="float32")
PATIENTS = [
    (
        "1950-07-01",
        "year",
        [(f"{year}-01-01", [5 + year % 7, 12]) for year in range(1990, 1995)],
    ),  # ten tokens: chunks of 4, 4 and 2
    ("1960-07-01", "year", [("2000-01-01", [5])]),
    ("1970-07-01", "year", [("2000-01-01", [13])]),
]


@pytest.fixture
def model() -> PackedEncoder:
    return PackedEncoder(new_model(config_for(SETTINGS, 20, "x"), seed=3)).eval()


def flags(*tokens: int) -> np.ndarray:
    chosen = np.zeros(20, bool)
    chosen[list(tokens)] = True
    return chosen


def published(model: PackedEncoder, shard: Shard, patients: np.ndarray, chosen: np.ndarray, how: Inference) -> Pooled:
    chunks = pool_chunks(model, shard, patients, chosen, how)
    return over_chunks(chunks, len(patients), attend)


def by_hand(model: PackedEncoder, shard: Shard, patient: int, chosen: np.ndarray) -> torch.Tensor:
    """The published formula, one chunk after the other."""
    chunks = cut(shard, 0, np.array([patient]), 4)
    sequences = Sequences((shard,), chunks, "year", 514)
    means = []
    for number in range(len(chunks)):
        one = sequences.select(chunks[number : number + 1])
        tokens, positions = torch.from_numpy(one.tokens)[None], torch.from_numpy(one.positions)[None]
        with torch.no_grad():
            hidden = stock_of(model).roberta_prelayernorm(input_ids=tokens, position_ids=positions).last_hidden_state[0]
        here = torch.from_numpy(chosen[one.tokens])
        if here.any():
            means.append(hidden[here].mean(0))
    a = torch.stack(means)
    weights = torch.softmax(a @ a.T / 16**0.5, dim=1)
    return (weights @ a).mean(0)


@pytest.mark.parametrize("chosen", [flags(*range(5, 20)), flags(12), flags(5, 13), flags(7, 8)])
def test_the_published_formula(model: PackedEncoder, tmp_path: Path, chosen: np.ndarray) -> None:
    shard = Shard.read(write_shard(tmp_path / "x.arrow", PATIENTS))
    pooled = published(model, shard, np.arange(3), chosen, HOW)
    for patient in range(3):
        tokens = [t for _, visit in PATIENTS[patient][2] for t in visit]
        assert pooled.tokens[patient] == sum(chosen[t] for t in tokens)
        pieces = [tokens[start : start + 4] for start in range(0, len(tokens), 4)]
        assert pooled.chunks[patient] == sum(any(chosen[t] for t in piece) for piece in pieces)
        if pooled.tokens[patient]:
            assert np.allclose(pooled.vectors_PD[patient], by_hand(model, shard, patient, chosen), atol=1e-5)
        else:
            assert not pooled.vectors_PD[patient].any()


def test_unchosen_tokens_still_matter_as_context(model: PackedEncoder, tmp_path: Path) -> None:
    other = [("1950-07-01", "year", [("1990-01-01", [5, 14])]), ("1950-07-01", "year", [("1990-01-01", [5, 15])])]
    shard = Shard.read(write_shard(tmp_path / "x.arrow", other))
    vectors = published(model, shard, np.arange(2), flags(5), HOW).vectors_PD
    assert not np.allclose(vectors[0], vectors[1])


def test_weighted_means(model: PackedEncoder, tmp_path: Path) -> None:
    """With weights w, a patient is the mean of all chosen tokens' vectors weighted by w, whatever the chunks."""
    shard = Shard.read(write_shard(tmp_path / "x.arrow", PATIENTS))
    weights = np.zeros(20)
    weights[[5, 7, 12]] = 0.5, 2.0, 1.0
    chunks = pool_chunks(model, shard, np.arange(3), weights, HOW)
    pooled = over_chunks(chunks, 3, None)
    cuts = cut(shard, 0, np.array([0]), 4)
    sequences = Sequences((shard,), cuts, "year", 514)
    vectors, used = [], []
    for number in range(len(cuts)):
        one = sequences.select(cuts[number : number + 1])
        with torch.no_grad():
            hidden = (
                stock_of(model)
                .roberta_prelayernorm(
                    input_ids=torch.from_numpy(one.tokens)[None], position_ids=torch.from_numpy(one.positions)[None]
                )
                .last_hidden_state[0]
            )
        vectors.append(hidden.numpy() * weights[one.tokens][:, None])
        used.append(weights[one.tokens])
    assert np.allclose(pooled.vectors_PD[0], np.concatenate(vectors).sum(0) / np.concatenate(used).sum(), atol=1e-5)
    assert pooled.tokens.tolist() == [6, 1, 0]
    assert not pooled.vectors_PD[2].any()


def test_attention_between_chunks_by_hand() -> None:
    a = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    own = np.exp(4 / 2**0.5) / (np.exp(4 / 2**0.5) + 1)
    assert torch.allclose(
        attend(a), torch.tensor([[2 * own, 2 * (1 - own)], [2 * (1 - own), 2 * own]], dtype=torch.float32)
    )
    assert torch.equal(attend(a[:1]), a[:1])


def test_the_batch_size_and_the_company_of_others_change_nothing(model: PackedEncoder, tmp_path: Path) -> None:
    from dataclasses import replace

    shard = Shard.read(write_shard(tmp_path / "x.arrow", PATIENTS))
    everything = flags(*range(5, 20))
    together = published(model, shard, np.arange(3), everything, HOW).vectors_PD
    alone = published(model, shard, np.array([1]), everything, replace(HOW, batch_tokens=4)).vectors_PD
    assert np.allclose(together[1], alone[0], atol=1e-6)


def test_patients_without_a_chosen_concept_are_reported_and_not_embedded_as_zero(tiny: Pipeline) -> None:
    artifact = tiny.store.current("patient_embeddings")
    assert artifact.counts["kept"] + artifact.counts["dropped"]["no_chosen_concept"] == artifact.counts["rows_in"]
    for path in artifact.files("embeddings"):
        table = schemas.read(path)
        vectors = table.column("vector").combine_chunks().flatten().to_numpy().reshape(table.num_rows, -1)
        assert np.linalg.norm(vectors, axis=1).min() > 0
        assert min(table.column("tokens").to_pylist()) > 0
