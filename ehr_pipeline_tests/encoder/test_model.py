from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import RobertaPreLayerNormForMaskedLM

from ehr_pipeline.encoder import model as model_module
from ehr_pipeline.encoder import packing
from ehr_pipeline.encoder.model import PackedEncoder, attend, config_for, new_model, visibility
from ehr_pipeline.encoder.objectives.masked import Masked
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT
from ehr_pipeline_tests.encoder.data import learnable, vocabulary_of
from ehr_pipeline_tests.encoder.stock_class import stock_config, stock_of

SETTINGS = EncoderSettings(
    hidden_size=32, layers=2, heads=4, feed_forward=64, context=16, dropout=0.0, attention_dropout=0.0
)
SIZE = 45


@pytest.fixture
def sequences(tmp_path: Path) -> Sequences:
    return Sequences.open(learnable(tmp_path)["dataset"], 16, "year", 514)


def stock_on_single_chunks(
    model: PackedEncoder, sequences: Sequences, index: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits of the stock class, one padded row for each chunk, and where its real tokens are."""
    chunks = sequences.chunks[index]
    tokens = torch.zeros(len(index), 16, dtype=torch.long)
    positions, mask = tokens.clone(), tokens.clone()
    for row in range(len(index)):
        one = sequences.select(chunks[row : row + 1])
        length = len(one.tokens)
        tokens[row, :length], positions[row, :length], mask[row, :length] = (
            torch.from_numpy(one.tokens),
            torch.from_numpy(one.positions),
            1,
        )
    logits = stock_of(model)(input_ids=tokens, attention_mask=mask, position_ids=positions).logits
    return logits, mask.bool()


def packed(sequences: Sequences) -> tuple[packing.Batch, list[np.ndarray]]:
    order = packing.order_of_epoch(len(sequences.chunks), 0, 0)
    rows = next(packing.group_rows(sequences, order, 16, 24))
    return packing.build(sequences, rows, 16), rows


def test_packed_logits_equal_those_of_the_stock_class(sequences: Sequences) -> None:
    model = PackedEncoder(new_model(config_for(SETTINGS, SIZE, "x"), seed=1)).eval()
    batch, rows = packed(sequences)
    assert max(len(row) for row in rows) > 1, "otherwise nothing is packed"
    with torch.no_grad():
        hidden = model.hidden(
            *(torch.from_numpy(array) for array in (batch.tokens_RT, batch.positions_RT, batch.segments_RT))
        )
        logits = model.logits(hidden)
        expected, real = stock_on_single_chunks(model, sequences, np.concatenate(rows))
    found = logits[torch.from_numpy(batch.segments_RT > 0)]
    assert torch.allclose(found, expected[real], atol=1e-5)


def test_loss_and_gradients_equal_those_of_the_stock_class(sequences: Sequences) -> None:
    objective = Masked(replace(SETTINGS, mask_share=0.3), vocabulary_of(SIZE))
    model = PackedEncoder(new_model(config_for(SETTINGS, SIZE, "x"), seed=1), objective).eval()
    batch, rows = packed(sequences)
    masked = objective.prepare(batch, objective.draw(batch.tokens_RT.shape, np.random.default_rng(0)))
    inputs_RT, *_, chosen_M, _ = masked.arrays
    chosen_RT = np.zeros(batch.tokens_RT.shape, bool)
    chosen_RT.reshape(-1)[chosen_M] = True
    ours_loss = model(*masked.tensors(torch.device("cpu"))) / masked.count
    ours_loss.backward()
    ours = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    # The stock class sees one chunk in each row, and takes the mean over all labels of the batch itself.
    index = np.concatenate(rows)
    shape = (len(index), 16)
    inputs, labels, positions, mask = (torch.full(shape, value) for value in (0, -100, 0, 0))
    for row, chunk in enumerate(index):
        here = batch.chunks == chunk
        length = int(here.sum())
        inputs[row, :length] = torch.from_numpy(inputs_RT[here])
        positions[row, :length] = torch.from_numpy(batch.positions_RT[here])
        labels[row, :length] = torch.from_numpy(np.where(chosen_RT[here], batch.tokens_RT[here], -100))
        mask[row, :length] = 1
    stock = stock_of(model)
    loss = stock(input_ids=inputs, attention_mask=mask, position_ids=positions, labels=labels).loss
    assert ours_loss.item() == pytest.approx(loss.item(), abs=1e-5)
    loss.backward()
    theirs = {f"stock.{name}": weight.grad for name, weight in stock.named_parameters() if weight.grad is not None}
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        assert torch.allclose(gradient, theirs[name], atol=1e-5), name


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_attention_of_a_training_in_bfloat16_is_that_of_float32(
    dropout: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU it takes another way there, to values and gradients that agree up to the rounding; dropout keeps their mean."""
    rng = torch.Generator().manual_seed(0)
    segments = torch.tensor([[1] * 5 + [2] * 9 + [0] * 2, [1] * 16])
    bias = visibility(segments, torch.float32)
    parts = torch.randn(4, 2, 4, 16, 8, generator=rng).bfloat16()
    aim = parts[3].float()

    def means_and_gradients(kind: torch.dtype, times: int) -> list[torch.Tensor]:
        found = []
        for _ in range(times):
            heads = [part.to(kind).requires_grad_() for part in parts[:3]]
            with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
                mean = attend(*heads, bias, dropout if kind == torch.bfloat16 else 0.0)
            assert mean.dtype == kind
            found.append([mean.detach().float(), *(g.float() for g in torch.autograd.grad(mean, heads, aim.to(kind)))])
        return [torch.stack(each).mean(0) for each in zip(*found, strict=True)]

    expected = means_and_gradients(torch.float32, 1)
    monkeypatch.setattr(F, "scaled_dot_product_attention", None)
    torch.manual_seed(0)
    for ours, theirs in zip(means_and_gradients(torch.bfloat16, 400 if dropout else 1), expected, strict=True):
        assert (ours - theirs).norm() < (0.1 if dropout else 0.01) * theirs.norm()


def test_fused_attention_is_used_but_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[torch.dtype] = []
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda query, *_, **__: asked.append(query.dtype) or query)
    heads = torch.zeros(3, 1, 1, 4, 8)
    bias = torch.zeros(1, 1, 4, 4)
    attend(*heads.bfloat16(), bias, 0.0)
    attend(*heads.requires_grad_(), bias, 0.0)
    assert asked == [torch.float32]


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_attention_for_vectors_is_the_same_some_rows_at_a_time(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five rows, so the last group may be smaller; the last layer asks for fewer places than there are."""
    rng = torch.Generator().manual_seed(0)
    segments = torch.randint(1, 4, (5, 16), generator=rng).sort().values
    bias = visibility(segments, torch.float32)[:, :, :6]
    query = torch.randn(5, 4, 6, 8, generator=rng).bfloat16()
    key, value = torch.randn(2, 5, 4, 16, 8, generator=rng).bfloat16()
    monkeypatch.setattr(model_module, "SCORES_AT_A_TIME", rows * 4 * 6 * 16)
    ours = attend(query, key, value, bias, 0.0)
    expected = F.scaled_dot_product_attention(query.float(), key.float(), value.float(), attn_mask=bias)
    assert ours.dtype == torch.bfloat16
    assert (ours.float() - expected).norm() < 0.01 * expected.norm()


def test_patients_in_one_row_never_see_each_other(sequences: Sequences) -> None:
    model = PackedEncoder(new_model(config_for(SETTINGS, SIZE, "x"), seed=1)).eval()
    batch, _ = packed(sequences)
    row = int(np.argmax(batch.segments_RT.max(1)))
    tokens, positions, segments = (
        torch.from_numpy(a[row : row + 1].copy()) for a in (batch.tokens_RT, batch.positions_RT, batch.segments_RT)
    )
    with torch.no_grad():
        before = model.hidden(tokens, positions, segments)
        first = segments == 1
        tokens[first] = 5 + (tokens[first] - 4) % 40
        after = model.hidden(tokens, positions, segments)
    assert torch.equal(before[~first], after[~first])
    assert not torch.allclose(before[first], after[first])


@pytest.mark.parametrize("places", [[], [3], [0, 1, 2, 17, 18, 40], [20, 3, 40, 0, 0, 0], list(range(48))])
def test_chosen_places_alone_are_computed_as_among_all(places: list[int]) -> None:
    model = PackedEncoder(new_model(config_for(SETTINGS, SIZE, "x"), 0)).eval()
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(FIRST_CONCEPT, SIZE, (3, 16), generator=generator)
    positions, segments = torch.arange(16).expand(3, 16) + 1, (torch.arange(16) >= 9).long().expand(3, 16) + 1
    chosen = torch.tensor(places, dtype=torch.int64)
    with torch.no_grad():
        every = model.hidden(tokens, positions, segments).reshape(48, -1)
        alone = model.hidden(tokens, positions, segments, chosen)
    assert torch.allclose(alone, every[chosen], atol=1e-6)


def test_a_seed_gives_the_weights_of_the_stock_class_bit_by_bit() -> None:
    config = config_for(SETTINGS, SIZE, "x")
    ours = new_model(config, 3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        stock = RobertaPreLayerNormForMaskedLM(stock_config(config))
    for (name, one), (other_name, other) in zip(ours.named_parameters(), stock.named_parameters(), strict=True):
        assert name == other_name
        assert torch.equal(one, other), name


def test_the_same_seed_gives_the_same_weights() -> None:
    one, two, three = (new_model(config_for(SETTINGS, SIZE, "x"), seed) for seed in (1, 1, 2))
    for (name, a), b, c in zip(one.named_parameters(), two.parameters(), three.parameters(), strict=True):
        assert torch.equal(a, b), name
        assert a.ndim == 1 or not torch.equal(a, c), name
