"""Next-visit prediction against a plain reference: each visit alone, asked for after the record before it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.encoder import checkpoint, packing, train
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.objectives.base import Part
from ehr_pipeline.encoder.objectives.next_visit import NextVisit
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.predictions.query_at_mask import at_mask
from ehr_pipeline.vocabulary.table import MASK, Vocabulary
from ehr_pipeline_tests.encoder import test_train
from ehr_pipeline_tests.encoder.data import learnable, vocabulary_of

SIZE, SLOTS = 45, 32
SETTINGS = replace(test_train.SETTINGS, layers=2, context=SLOTS, objective="next_visit")
DEVICE = torch.device("cpu")


@pytest.fixture(scope="module")
def sequences(tmp_path_factory: pytest.TempPathFactory) -> Sequences:
    return Sequences.open(learnable(tmp_path_factory.mktemp("data"))["dataset"], SLOTS, "year", 514)


@pytest.fixture(scope="module")
def batch(sequences: Sequences) -> packing.Batch:
    order = packing.order_of_epoch(len(sequences.chunks), 0, 0)
    return packing.build(sequences, next(packing.group_rows(sequences, order, SLOTS, 12)), SLOTS)


@pytest.fixture
def model() -> PackedEncoder:
    objective = NextVisit(SETTINGS, vocabulary_of(SIZE))
    return PackedEncoder(new_model(config_for(SETTINGS, SIZE, "x"), seed=1), objective).eval()


def prepared(batch: packing.Batch, seed: int = 0) -> Part:
    objective = NextVisit(SETTINGS, vocabulary_of(SIZE))
    return objective.prepare(batch, objective.draw(batch.tokens_RT.shape, np.random.default_rng(seed)))


def asked_for(batch: packing.Batch, part: Part) -> list[tuple[int, int, int]]:
    """Row, segment and visit of each mask."""
    tokens, _, segments, order, places, *_ = part.arrays
    assert (tokens.reshape(-1)[places] == MASK).all()
    rows = places // tokens.shape[1]
    return [
        (int(row), int(segment), int(visit) // 2)
        for row, segment, visit in zip(rows, segments.reshape(-1)[places], order.reshape(-1)[places], strict=True)
    ]


def registered(model: PackedEncoder) -> Any:
    """The class that transformers loads, with the weights of an encoder."""
    from ehr_pipeline.encoder.causal_model import LookingBackConfig, LookingBackForMaskedLM

    values = {name: value for name, value in vars(model.stock.config).items() if name != "model_type"}
    found = LookingBackForMaskedLM(LookingBackConfig(**values)).eval()
    assert not found.load_state_dict(model.stock.state_dict(), strict=False).unexpected_keys
    return found


def alone(reference: Any, batch: packing.Batch, mask: tuple[int, int, int]) -> Tensor:
    """Logits (V,) at one mask, of the registered class, on the record before the visit and the mask alone."""
    row, segment, visit = mask
    mine = batch.segments_RT[row] == segment
    before, own = mine & (batch.visits_RT[row] < visit), mine & (batch.visits_RT[row] == visit)

    def one(values_RT: np.ndarray, last: int) -> Tensor:
        return torch.tensor([[*values_RT[row][before].tolist(), last]])

    with torch.no_grad():
        return reference(
            one(batch.tokens_RT, MASK),
            visit_ids=one(batch.visits_RT, visit),
            position_ids=one(batch.positions_RT, int(batch.positions_RT[row][own][0])),
        ).logits[0, -1]


def test_masks_stand_before_visits_within_the_room_of_a_row(batch: packing.Batch) -> None:
    part = prepared(batch)
    masks = asked_for(batch, part)
    visits = {
        (row, int(segment), int(visit))
        for row in range(len(batch.tokens_RT))
        for segment, visit in zip(batch.segments_RT[row], batch.visits_RT[row], strict=True)
        if segment
    }
    assert len(masks) == len(set(masks))
    assert set(masks) <= visits
    for row in range(len(batch.tokens_RT)):
        there = sum(visit[0] == row for visit in visits)
        assert sum(mask[0] == row for mask in masks) == min(there, SLOTS // 4)
    tokens_P = [
        int(token)
        for row, segment, visit in masks
        for token in batch.tokens_RT[row][(batch.segments_RT[row] == segment) & (batch.visits_RT[row] == visit)]
    ]
    assert sorted(part.arrays[-1].tolist()) == sorted(tokens_P)
    assert part.count == len(tokens_P)
    assert set(asked_for(batch, prepared(batch, seed=1))) != set(masks), "other draws ask for other visits"


def test_loss_and_scores_equal_those_of_each_visit_alone(batch: packing.Batch, model: PackedEncoder) -> None:
    part = prepared(batch)
    masks = asked_for(batch, part)
    reference, expected, first = registered(model), 0.0, 0
    for number, mask in enumerate(masks):
        shares = alone(reference, batch, mask).log_softmax(0)
        targets = part.arrays[-1][part.arrays[-2] == number]
        expected -= float(shares[targets].sum())
        first += int((targets == int(shares.argmax())).sum())
    assert model(*part.tensors(DEVICE)).item() == pytest.approx(expected, rel=1e-5)
    sums = torch.from_numpy(model.objective.no_sums())
    with torch.no_grad():
        model.objective.score(model, sums, *part.tensors(DEVICE))
    assert sums[0].sum().item() == pytest.approx(expected, rel=1e-5)
    assert (sums[1].sum().item(), sums[3].sum().item()) == (first, part.count)


def test_nothing_of_a_visit_or_after_it_reaches_its_mask(batch: packing.Batch, model: PackedEncoder) -> None:
    part = prepared(batch)
    masks = asked_for(batch, part)
    number = next(n for n, (row, segment, visit) in enumerate(masks) if visit >= 2)
    row, segment, visit = masks[number]
    tokens, positions, segments, order, places, *_ = (array.copy() for array in part.arrays)

    def state() -> Tensor:
        arrays = (torch.from_numpy(a) for a in (tokens, positions, segments, places[number : number + 1], order))
        with torch.no_grad():
            return model.hidden(*arrays)

    before = state()
    mine = np.pad(batch.segments_RT[row] == segment, (0, tokens.shape[1] - SLOTS))
    visits = np.pad(batch.visits_RT[row], (0, tokens.shape[1] - SLOTS))
    tokens[row, mine & (visits >= visit)] = 5
    tokens[row, np.pad(batch.segments_RT[row] > 0, (0, tokens.shape[1] - SLOTS)) & ~mine] = 5
    assert torch.equal(state(), before)
    tokens[row, mine & (visits < visit)] = 5
    assert not torch.allclose(state(), before)


def test_the_encoder_is_asked_for_the_future_as_it_was_trained(sequences: Sequences, model: PackedEncoder) -> None:
    """The state at an appended mask is that of the training mask that stands before the record's last visit."""
    how = Inference(SLOTS, "year", 514, SLOTS * 4, "float32")
    shard = sequences.shards[0]
    last = shard.visit_day[shard.patient_start[1:] - 1]
    last_visit = np.zeros(len(shard.visit_day), bool)
    last_visit[shard.patient_start[1:] - 1] = True
    found = np.full((len(last), SETTINGS.hidden_size), np.nan, np.float32)
    for rows, hidden in at_mask(model, shard.keep_visits(~last_visit), last, how):
        found[rows] = hidden.numpy()
    chunks = np.flatnonzero(sequences.chunks.length < SLOTS)[:20]  # whole records
    for chunk in chunks:
        whole = packing.build(sequences, [np.array([chunk])], SLOTS)
        part = prepared(whole)
        _, _, visit = asked_for(whole, part)[-1]
        if visit != whole.visits_RT.max():
            continue
        tensors = part.tensors(DEVICE)
        with torch.no_grad():
            state = model.hidden(*tensors[:3], tensors[4][-1:], tensors[3])
        assert torch.allclose(state[0], torch.from_numpy(found[sequences.chunks.patient[chunk]]), atol=1e-5)


def test_it_learns_and_its_checkpoint_is_loaded_by_its_own_class_only(tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM

    from ehr_pipeline.encoder import causal_model

    data = learnable(tmp_path / "data")
    train.run(test_train.job(tmp_path, data, replace(SETTINGS, layers=1)))
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["best"]["validation_loss"] < metrics["baseline"]["loss"] - 0.5
    folder = tmp_path / "out" / "checkpoint"
    card = (folder / "README.md").read_text()
    assert "next-visit-prediction" in card
    assert "ehr_pipeline.encoder.causal_model" in card
    ours = checkpoint.load(folder, Vocabulary.read(data["vocabulary"]), DEVICE)
    theirs = AutoModelForMaskedLM.from_pretrained(folder).eval()
    assert isinstance(theirs, causal_model.LookingBackForMaskedLM)
    tokens, ages, visits = (torch.tensor([row]) for row in ([7, 9, 12, MASK], [40, 40, 41, 45], [0, 0, 1, 2]))
    with torch.no_grad():
        hidden = ours.hidden(tokens, ages + 1, torch.ones_like(tokens), None, 2 * visits + 1)
        expected = theirs(tokens, visit_ids=visits, position_ids=ages + 1).logits
        assert torch.allclose(ours.logits(hidden), expected, atol=1e-5)
        with pytest.raises(ValueError, match="looks back needs the order of visits"):
            ours.hidden(tokens, ages + 1, torch.ones_like(tokens))
