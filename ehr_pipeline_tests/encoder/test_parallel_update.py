"""Threads that compute parts of an update at the same time: the same gradients, and the same again."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ehr_pipeline.encoder import evaluate, loader, optimizer, train
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.objectives.masked import Masked
from ehr_pipeline.encoder.parallel_update import UpdateThreads, side_by_side
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline_tests.encoder.data import learnable, vocabulary_of
from ehr_pipeline_tests.encoder.test_train import SETTINGS

SIZE, CPU = 45, torch.device("cpu")
OBJECTIVE = Masked(SETTINGS, vocabulary_of(SIZE))


@pytest.fixture
def sequences(tmp_path: Path) -> Sequences:
    return Sequences.open(learnable(tmp_path)["dataset"], 16, "year", 514)


@pytest.fixture
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def trained(sequences: Sequences, threads: UpdateThreads | None) -> tuple[list[torch.Tensor], float]:
    model = PackedEncoder(new_model(config_for(SETTINGS, SIZE, "x"), 0), OBJECTIVE).train()
    updater = optimizer.optimizer_of(model, SETTINGS)
    for update in list(loader.updates(sequences, OBJECTIVE, loader.Plan(16, 8, 2), seed=0, epoch=0))[:4]:
        assert len(update.parts) == 4
        done = optimizer.step(
            model, updater, optimizer.gradients(model, update, CPU, "float32", threads), 0.01, SETTINGS
        )
    return [parameter.detach().clone() for parameter in model.parameters()], done.loss


@pytest.mark.usefixtures("three_threads")
def test_threads_train_as_one_does_and_always_alike(sequences: Sequences) -> None:
    alone, loss = trained(sequences, None)
    with side_by_side(SETTINGS, CPU, compiled=False) as threads:
        assert threads is not None
        assert threads.threads == 3
        (together, other), (again, _) = trained(sequences, threads), trained(sequences, threads)
    assert torch.get_num_threads() == 3
    assert loss == pytest.approx(other, rel=1e-5)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(alone, together, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(together, again, strict=True))


@pytest.mark.usefixtures("three_threads")
def test_an_evaluation_in_threads_finds_the_same(sequences: Sequences) -> None:
    model = PackedEncoder(new_model(config_for(SETTINGS, SIZE, "x"), 0), OBJECTIVE)
    asked = list(evaluate.evaluation_parts(OBJECTIVE, sequences, 16, 0))
    assert len(asked) > 3
    alone = evaluate.evaluate(model, OBJECTIVE, iter(asked), CPU, "float32")
    with side_by_side(SETTINGS, CPU, compiled=False) as threads:
        found = evaluate.evaluate(model, OBJECTIVE, iter(asked), CPU, "float32", threads=threads)
    assert alone.sum() > 0
    assert found == pytest.approx(alone, rel=1e-6)


@pytest.mark.usefixtures("three_threads")
@pytest.mark.parametrize("what", ["dropout", "attention_dropout", "gpu", "compiled", "processes", "one thread"])
def test_where_parts_come_one_after_the_other(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = replace(SETTINGS, **{what: 0.1}) if "dropout" in what else SETTINGS  # type: ignore[arg-type]
    if what == "processes":
        monkeypatch.setenv("WORLD_SIZE", "2")
    if what == "one thread":
        torch.set_num_threads(1)
    device = torch.device("cuda" if what == "gpu" else "cpu")
    with side_by_side(settings, device, compiled=what == "compiled") as threads:
        assert threads is None


def test_an_update_has_a_part_for_each_thread() -> None:
    settings = replace(SETTINGS, context=256, tokens_per_step=2048)
    assert train.plan_for(settings, CPU, threads=2).micro_rows == 4
    assert train.plan_for(settings, CPU, threads=16).micro_rows == 1
    large = replace(settings, tokens_per_step=32768)
    assert [train.plan_for(large, CPU, threads=threads).micro_rows for threads in (1, 2)] == [16, 8]
    assert train.plan_for(large, CPU, together=16, threads=4).micro_rows == 16, "blocks are whole"
