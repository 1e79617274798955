"""The encoder on a GPU: `pytest -m gpu` runs these alone. What needs no GPU is in `test_gpu_path` and `test_devices`."""

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from ehr_pipeline.encoder import hardware_choices, loader, optimizer, train
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.objectives import objective_of
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.work import jobs
from ehr_pipeline_tests.encoder.data import learnable, vocabulary_of
from ehr_pipeline_tests.encoder.test_resume import break_at
from ehr_pipeline_tests.encoder.test_train import SETTINGS, job, weights

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
SIZE = 45
GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
WIDE = replace(SETTINGS, hidden_size=64, layers=2, context=64)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return learnable(tmp_path_factory.mktemp("data"))


def one_update(data: dict[str, Path], objective: str, device: torch.device) -> tuple[PackedEncoder, loader.Update]:
    settings = replace(WIDE, objective=objective)  # type: ignore[arg-type]
    made = objective_of(settings, vocabulary_of(SIZE), 0)
    sequences = Sequences.open(data["dataset"], 64, "year", 514)
    plan = loader.Plan(64, 8, 4, fixed=True, gpu=device if device.type == "cuda" else None)
    update = next(loader.updates(sequences, made, plan, seed=0, epoch=0))
    return PackedEncoder(new_model(config_for(settings, SIZE, "x"), 0), made).to(device).train(), update


@pytest.mark.parametrize("objective", ["masked", "next_visit"])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("precision", "loss_away", "away"), [("float32", 1e-4, 1e-3), ("bfloat16", 2e-2, 5e-2)])
def test_loss_and_gradients_are_those_of_float32_on_the_cpu(
    data: dict[str, Path], objective: str, compiled: bool, precision: str, loss_away: float, away: float
) -> None:
    found = []
    for device, kind in ((CPU, "float32"), (GPU, precision)):
        model, update = one_update(data, objective, device)
        if compiled and device == GPU:
            model.compile_layers()
        loss, count = optimizer.gradients(model, update, device, kind).tolist()
        gradients = [p.grad.flatten().float().cpu() for p in model.parameters() if p.grad is not None]
        found.append((loss / count, torch.cat(gradients) / count))
    (true, expected), (loss, gradient) = found
    assert abs(loss - true) < loss_away
    assert (gradient - expected).norm() < away * expected.norm()


@pytest.mark.parametrize("objective", ["masked", "next_visit"])
def test_the_host_waits_for_nothing_while_it_computes_gradients(data: dict[str, Path], objective: str) -> None:
    model, update = one_update(data, objective, GPU)
    optimizer.gradients(model, update, GPU, "bfloat16")  # the first time, libraries are loaded
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        optimizer.gradients(model, update, GPU, "bfloat16")
    finally:
        torch.cuda.set_sync_debug_mode(before)


def test_a_training_goes_on_from_the_cpu_to_the_gpu_and_back(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SETTINGS, max_epochs=2, checkpoint_seconds=0, precision="float32", compile="off")
    whole = job(tmp_path / "whole", data, settings)
    train.run(whole)
    broken = replace(job(tmp_path / "broken", data, settings), resume=tmp_path / "training")
    for update, here in ((4, False), (4, True)):
        with monkeypatch.context() as patch:
            patch.setattr(torch.cuda, "is_available", lambda here=here: here)
            break_at(update, patch)
            with pytest.raises(KeyboardInterrupt):
                train.run(broken)
    train.run(broken)
    decided = (tmp_path / "training" / hardware_choices.FILE).read_text()
    assert "cpu and cuda" in decided
    ours, theirs = weights(whole.out), weights(broken.out)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-3) for name in ours)


FAILING = """
import sys
from ehr_pipeline.encoder.devices import process_group
from ehr_pipeline.work import jobs
import torch, torch.distributed as dist
with process_group(needs_gpu=True) as device:
    assert device.index == jobs.rank() == torch.cuda.current_device()
    if jobs.rank() == 0:
        raise SystemExit(3)
    total = torch.ones(1, device=device)
    dist.all_reduce(total)
    torch.cuda.synchronize()
"""


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_process_that_fails_ends_the_others_within_a_minute(tmp_path: Path) -> None:
    (tmp_path / "rank.py").write_text(FAILING)
    began = time.monotonic()
    done = _torchrun(str(tmp_path / "rank.py"))
    assert done.returncode != 0
    assert time.monotonic() - began < 60


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_give_the_losses_of_one(data: dict[str, Path], tmp_path: Path) -> None:
    settings = replace(SETTINGS, max_epochs=1, precision="float32")
    one, two = (job(tmp_path / name, data, settings) for name in ("one", "two"))
    train.run(one)
    (tmp_path / "job.json").write_text(jobs.as_json(two))
    done = _torchrun("-m", "ehr_pipeline.encoder.train", "--job", str(tmp_path / "job.json"))
    assert done.returncode == 0, done.stderr
    ours, theirs = weights(one.out), weights(two.out)
    assert all(torch.allclose(ours[name], theirs[name], atol=1e-3) for name in ours)


def test_a_training_that_is_broken_off_ends_like_one_that_is_not(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sums on a GPU come in any order, so weights are near and not the same."""
    settings = replace(SETTINGS, max_epochs=2, checkpoint_seconds=0, dropout=0.1)
    whole = job(tmp_path / "whole", data, settings)
    train.run(whole)
    broken = replace(job(tmp_path / "broken", data, settings), resume=tmp_path / "training")
    with monkeypatch.context() as patch:
        break_at(7, patch)
        with pytest.raises(KeyboardInterrupt):
            train.run(broken)
    train.run(broken)
    ours, theirs = weights(whole.out), weights(broken.out)
    assert all(torch.allclose(ours[name], theirs[name], atol=2e-2) for name in ours)


def _torchrun(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
