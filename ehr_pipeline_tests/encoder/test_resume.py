import json
import logging
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ehr_pipeline.encoder import optimizer, resume, train
from ehr_pipeline.encoder.model import PackedEncoder, config_for, new_model
from ehr_pipeline.encoder.resume import Checkpoints, Position
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.encoder.stopping import Flatness
from ehr_pipeline.encoder.training_job import TrainingJob
from ehr_pipeline.errors import UserError
from ehr_pipeline.work import jobs
from ehr_pipeline_tests.encoder.data import learnable, write_vocabulary
from ehr_pipeline_tests.encoder.test_train import SETTINGS, job, weights

pytestmark = pytest.mark.slow

# With dropout, so a random state that is not restored would show.
DROPPING = replace(SETTINGS, dropout=0.1, attention_dropout=0.1, max_epochs=2, checkpoint_seconds=0)


@pytest.fixture(autouse=True)
def _every_fourth_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint is due after every fourth update of a training in this process, and not by the clock."""

    def if_due(saver: Any) -> None:
        saver.updates = getattr(saver, "updates", 0) + 1
        if saver.updates % 4 == 0:
            saver.now()

    monkeypatch.setattr(train._Saver, "if_due", if_due)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return learnable(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def whole(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    train.run(job(folder, data, DROPPING))
    return folder / "out"


def started(folder: Path, data: dict[str, Path], settings: EncoderSettings = DROPPING, **changes: Any) -> TrainingJob:
    """A job whose checkpoints lie beside its output."""
    return replace(job(folder, data, settings), **{"resume": folder / "training", **changes})


def again(described: TrainingJob) -> TrainingJob:
    """The same job with a new folder to fill, as the store gives it."""
    out = described.out.with_name("again")
    out.mkdir()
    return replace(described, out=out)


def break_at(update: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a training end by an error at an update."""
    step, done = optimizer.step, []

    def breaking(*arguments: Any) -> optimizer.UpdateResult:
        done.append(1)
        if len(done) > update:
            raise KeyboardInterrupt
        return step(*arguments)

    monkeypatch.setattr(optimizer, "step", breaking)


def same(one: Path, two: Path) -> None:
    ours, theirs = weights(one), weights(two)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    metrics = [json.loads((out / "metrics.json").read_text()) for out in (one, two)]
    assert metrics[0] == metrics[1]


@pytest.mark.parametrize(
    "update", [3, 10, 18, 21]
)  # before any checkpoint, between two, at the end of an epoch, after it
def test_an_interrupted_training_ends_with_the_same_weights(
    whole: Path, data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, update: int
) -> None:
    described = started(tmp_path, data)
    with monkeypatch.context() as patch:
        break_at(update, patch)
        with pytest.raises(KeyboardInterrupt):
            train.run(described)
    described = again(described)
    train.run(described)
    same(whole, described.out)


def test_a_training_killed_by_the_kernel_ends_with_the_same_weights(
    whole: Path, data: dict[str, Path], tmp_path: Path
) -> None:
    described = started(tmp_path, data)
    (tmp_path / "job.json").write_text(jobs.as_json(described))
    command = [sys.executable, "-m", "ehr_pipeline.encoder.train", "--job", str(tmp_path / "job.json")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=os.environ | {"OMP_NUM_THREADS": "1"})
    while process.poll() is None and not list((tmp_path / "training").glob("update-*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list((tmp_path / "training").glob("update-*"))
    described = again(described)
    train.run(described)
    same(whole, described.out)


def test_the_last_few_checkpoints_and_the_best_are_kept(data: dict[str, Path], tmp_path: Path) -> None:
    train.run(started(tmp_path, data, replace(DROPPING, keep_checkpoints=3)))
    kept = sorted(path.name for path in (tmp_path / "training").iterdir() if path.is_dir())
    assert kept == ["best", "update-000000028", "update-000000032", "update-000000036"]


def interrupted(folder: Path, data: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> TrainingJob:
    """A training that ended in update 14. Returns its job."""
    described = started(folder, data)
    with monkeypatch.context() as patch:
        break_at(14, patch)
        with pytest.raises(KeyboardInterrupt):
            train.run(described)
    return described


@pytest.mark.parametrize("damage", ["cut", "changed", "missing", "state"])
def test_a_damaged_checkpoint_is_skipped_with_a_warning(
    whole: Path,
    data: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    described = interrupted(tmp_path, data, monkeypatch)
    newest = tmp_path / "training" / "update-000000012"
    path = newest / ("state.json" if damage == "state" else "optimizer.safetensors")
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(content[:-100] if damage != "changed" else content[:-1] + bytes([content[-1] ^ 1]))
    described = again(described)
    with caplog.at_level(logging.INFO):
        train.run(described)
    assert "update-000000012 is damaged, and skipped" in caplog.text
    assert "resuming from update 8 of epoch 1" in caplog.text
    same(whole, described.out)


def test_every_process_goes_back_to_the_checkpoint_that_the_first_sees(
    whole: Path,
    data: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """On a network file system a newer one may be seen by one of them, and not yet by the other."""
    described = interrupted(tmp_path, data, monkeypatch)
    monkeypatch.setattr(resume, "APPEARING", 0)
    described = again(described)
    monkeypatch.setattr(resume, "from_first", lambda step, device: 16)
    with pytest.raises(UserError, match=r"does not see the checkpoint .*update-000000016"):
        train.run(described)
    monkeypatch.setattr(resume, "from_first", lambda step, device: 8)
    with caplog.at_level(logging.INFO):
        train.run(described)
    assert "resuming from update 8 of epoch 1" in caplog.text
    same(whole, described.out)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 5}, "seed is 0 there and 5 here"),
        ({"settings": {"learning_rate": 0.5}}, "learning_rate is 0.01 there and 0.5 here"),
        ({"vocabulary": "D"}, "vocabulary is '[0-9a-f]{16}' there and '[0-9a-f]{16}' here"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_and_both_are_named(
    data: dict[str, Path], tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    described = started(tmp_path, data, replace(DROPPING, max_epochs=1))
    train.run(described)
    described = again(described)
    if "settings" in changes:
        changes = {"settings": replace(described.settings, **changes["settings"])}
    if "vocabulary" in changes:
        changes = {"vocabulary": write_vocabulary(tmp_path / "vocabulary", 40, changes["vocabulary"])}
    with pytest.raises(UserError, match=f"belongs to another training run: .*{message}"):
        train.run(replace(described, **changes))


def test_settings_that_only_concern_speed_may_change(whole: Path, data: dict[str, Path], tmp_path: Path) -> None:
    described = started(tmp_path, data, replace(DROPPING, max_epochs=1))
    train.run(described)
    described = again(described)
    settings = replace(described.settings, keep_checkpoints=1, checkpoint_seconds=1.0)
    train.run(replace(described, settings=settings))


def test_a_loss_that_is_not_finite_names_the_last_good_checkpoint(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients, done = optimizer.gradients, []

    def breaking(*arguments: Any) -> torch.Tensor:
        done.append(1)
        total = gradients(*arguments)
        return total.index_fill(0, torch.tensor([0]), math.nan) if len(done) == 11 else total

    monkeypatch.setattr(optimizer, "gradients", breaking)
    with pytest.raises(
        UserError, match=r"not finite at update 10 of epoch 1; .* last good checkpoint: .*update-000000008"
    ):
        train.run(started(tmp_path, data))


def test_gradients_that_are_not_finite_change_no_weight() -> None:
    model = PackedEncoder(new_model(config_for(SETTINGS, 45, "x"), 0))
    updater = optimizer.optimizer_of(model, SETTINGS)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 0.5)
    next(model.parameters()).grad[0] = math.inf  # type: ignore[index]
    before = [parameter.clone() for parameter in model.parameters()]
    total = torch.tensor([1.0, 10.0], dtype=torch.float64)
    assert not optimizer.step(model, updater, total, 0.1, SETTINGS).finite
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_one_training_at_a_time_writes_to_a_folder(tmp_path: Path) -> None:
    first, second = (Checkpoints(tmp_path, {}, 1).lock() for _ in range(2))
    with first, pytest.raises(UserError, match="Another training run writes to"), second:
        pass


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    model = PackedEncoder(new_model(config_for(SETTINGS, 45, "x"), 0))
    path = Checkpoints(tmp_path, {}, 1).save(
        Position(), Flatness(0.1, 1), model, optimizer.optimizer_of(model, SETTINGS)
    )
    assert {file.suffix for file in path.iterdir()} == {".safetensors", ".json"}
