from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ehr_pipeline.encoder import loader, optimizer
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.objectives.masked import Masked
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline_tests.encoder.data import learnable, vocabulary_of
from ehr_pipeline_tests.encoder.test_train import SETTINGS

SIZE = 45
OBJECTIVE = Masked(SETTINGS, vocabulary_of(SIZE))


@pytest.fixture
def sequences(tmp_path: Path) -> Sequences:
    return Sequences.open(learnable(tmp_path)["dataset"], 16, "year", 514)


def updates(
    sequences: Sequences, epoch: int = 0, seed: int = 0, skip: int = 0, plan: loader.Plan | None = None
) -> list[loader.Update]:
    plan = plan or loader.Plan(16, 8, 8)
    return list(loader.updates(sequences, OBJECTIVE, plan, seed=seed, epoch=epoch, skip=skip))


def inputs(made: list[loader.Update]) -> np.ndarray:
    return np.concatenate([part.arrays[0] for update in made for part in update.parts])


def test_order_and_masks_are_a_function_of_seed_and_epoch(sequences: Sequences) -> None:
    first = inputs(updates(sequences))
    assert np.array_equal(first, inputs(updates(sequences)))
    assert not np.array_equal(first, inputs(updates(sequences, epoch=1))[: len(first)])
    assert not np.array_equal(first, inputs(updates(sequences, seed=1))[: len(first)])


def test_skipped_updates_are_those_that_would_have_come_first(sequences: Sequences) -> None:
    whole = updates(sequences)
    assert np.array_equal(inputs(updates(sequences, skip=5)), inputs(whole[5:]))
    assert updates(sequences, skip=len(whole)) == []


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_an_update_out_and_change_nothing_of_it(sequences: Sequences, processes: int) -> None:
    whole = updates(sequences)[0].parts[0]
    shares = [updates(sequences, plan=loader.Plan(16, 8, 2, rank, processes))[0] for rank in range(processes)]
    for rank, share in enumerate(shares):
        rows = np.concatenate([part.arrays[0] for part in share.parts])
        assert np.array_equal(rows, whole.arrays[0][rank::processes])
    assert sum(part.count for share in shares for part in share.parts) == whole.count
    assert {share.real_tokens for share in shares} == {int((whole.arrays[2] > 0).sum())}


def test_a_process_without_a_row_gets_padding_and_nothing_to_predict(sequences: Sequences) -> None:
    made = updates(sequences, plan=loader.Plan(16, 2, 2, rank=5, processes=6))
    (part,) = made[0].parts
    assert not part.arrays[2].any()
    assert part.count == 0


def test_every_epoch_has_masks_of_its_own(sequences: Sequences) -> None:
    one, two = (np.concatenate([u.parts[0].arrays[4] for u in updates(sequences, epoch=e)]) for e in (0, 1))
    assert len(one) != len(two) or not np.array_equal(np.sort(one), np.sort(two))


@pytest.mark.parametrize("micro_rows", [1, 3, 8])
def test_accumulated_parts_equal_one_big_batch(sequences: Sequences, micro_rows: int) -> None:
    def trained(rows: int) -> tuple[list[torch.Tensor], float]:
        model = PackedEncoder(new_model(config_for(SETTINGS, SIZE, "x"), 0), OBJECTIVE).train()
        updater = optimizer.optimizer_of(model, SETTINGS)
        for update in updates(sequences, plan=loader.Plan(16, 8, rows))[:4]:
            total = optimizer.gradients(model, update, torch.device("cpu"), "float32")
            done = optimizer.step(model, updater, total, 0.01, SETTINGS)
            assert done.finite
        return list(model.parameters()), done.loss

    (whole, one), (parts, other) = trained(8), trained(micro_rows)
    assert one == pytest.approx(other, rel=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(whole, parts, strict=True))


def test_the_loss_is_a_mean_over_tokens_and_not_over_parts(sequences: Sequences) -> None:
    """Without clipping, the gradients that AdamW sees are those of the mean over all chosen tokens, however they are spread."""
    settings = replace(SETTINGS, clip_norm=1e9)
    model = PackedEncoder(new_model(config_for(settings, SIZE, "x"), 0), OBJECTIVE).train()
    update = updates(sequences, plan=loader.Plan(16, 8, 1))[0]
    counts = [part.count for part in update.parts]
    assert len(set(counts)) > 1, "otherwise a mean of means would do"
    total = optimizer.gradients(model, update, torch.device("cpu"), "float32")
    assert total[1] == sum(counts)
    seen: list[torch.Tensor] = []
    updater = torch.optim.SGD(model.parameters(), lr=0.0)
    updater.step = lambda *_: seen.extend(p.grad.clone() for p in model.parameters())  # type: ignore[assignment,misc,union-attr]
    optimizer.step(model, updater, total, 0.0, settings)  # type: ignore[arg-type]
    losses = [model(*part.tensors(torch.device("cpu"))) for part in update.parts]
    expected = torch.autograd.grad(torch.stack(losses).sum() / sum(counts), list(model.parameters()))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(seen, expected, strict=True))
