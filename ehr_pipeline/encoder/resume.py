"""Save and restore checkpoints during a training run. If the run is killed, it resumes from the last checkpoint and ends with the
same weights, bit for bit.

<folder>/lock held by the only training run that may write here <folder>/update-000000400/ model.safetensors, optimizer.safetensors,
state.json <folder>/best/ the checkpoint of the best epoch, in its published form <folder>/progress.jsonl, events.out.tfevents.*

A checkpoint is written to a temporary folder, flushed, and renamed. `state.json` holds the hashes of the other two files, so
an incomplete checkpoint is detected. Only safetensors and JSON are read: nothing is unpickled. No random state needs saving: order,
masks and dropout depend only on the seed and the number of the update.
"""

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ehr_pipeline.encoder.devices import from_first
from ehr_pipeline.encoder.stopping import Flatness
from ehr_pipeline.errors import UserError
from ehr_pipeline.store.build_lock import exclusive
from ehr_pipeline.typed_settings import file_hash
from ehr_pipeline.work import jobs

_log = logging.getLogger("ehr_pipeline")
STATE, MODEL, OPTIMIZER, BEST = "state.json", "model.safetensors", "optimizer.safetensors", "best"
APPEARING = 120.0  # seconds that a folder made on another machine may take to appear here, on a network file system


@dataclass
class Position:
    """The position of a training run between two updates."""

    epoch: int = 0
    update: int = 0
    """Number of updates done in this epoch."""
    step: int = 0
    """Number of updates done in total."""
    loss_sum: float = 0.0
    chosen: int = 0
    """Predictions made in this epoch so far; `loss_sum` is the sum of their losses."""
    real_tokens: int = 0
    slots: int = 0
    clipped: int = 0
    best: float = math.inf
    history: list[dict[str, Any]] = field(default_factory=list)


class Checkpoints:
    """The checkpoints in a folder. To resume from one, a training run must have the same `identity` (plain JSON values)."""

    def __init__(self, folder: Path, identity: Mapping[str, Any], keep: int):
        self.folder, self.identity, self.keep = folder, json.loads(json.dumps(identity)), keep
        folder.mkdir(parents=True, exist_ok=True)

    def lock(self) -> AbstractContextManager[int]:
        """Lock the folder. Raises UserError if another training run holds the lock; the kernel frees the lock when that run
        dies."""
        busy = f"Another training run writes to {self.folder}. Wait for it, or end it."
        # Other users of the same group may lock it too, if the umask permits.
        return exclusive(self.folder / "lock", busy, mode=0o666)

    def save(
        self, position: Position, flatness: Flatness, model: torch.nn.Module, optimizer: torch.optim.Optimizer
    ) -> Path:
        """Publish a checkpoint, and remove all but the newest `keep`. Returns its folder."""
        target = self._path(position.step)
        work = self.folder / f".{target.name}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        save_file(
            {name: tensor.detach().contiguous() for name, tensor in _distinct_parameters(model).items()}, work / MODEL
        )
        save_file(_flat(model, optimizer), work / OPTIMIZER)
        state = {
            "identity": self.identity,
            "position": asdict(position),
            "flatness": {"best": flatness.best, "flat_epochs": flatness.flat_epochs},
            "files": {name: file_hash(work / name) for name in (MODEL, OPTIMIZER)},
        }
        (work / STATE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
        publish(work, target)
        for old in self._paths()[: -self.keep]:
            shutil.rmtree(old)
        return target

    def last(self) -> Path | None:
        """Return the newest checkpoint, or None."""
        paths = self._paths()
        return paths[-1] if paths else None

    def restore(
        self, flatness: Flatness, model: torch.nn.Module, optimizer: torch.optim.Optimizer, device: torch.device
    ) -> Position:
        """Restore the newest intact checkpoint, and return its position; if there is none, return the start position.

        The first process of the job chooses the checkpoint: on a network file system, other processes may still see an older one as
        the newest. Raises UserError when the checkpoint belongs to another vocabulary, data set or settings, and when this process
        cannot see it.
        """
        step = from_first(self._newest() if jobs.rank() == 0 else 0, device)
        if step < 0:
            return Position()
        path = self._path(step)
        state = self._appearing(path)
        self._must_agree(path, state["identity"])
        _restore(path, model, optimizer, device)
        flatness.best = (state["flatness"]["best"][0], state["flatness"]["best"][1])
        flatness.flat_epochs = state["flatness"]["flat_epochs"]
        position = Position(**state["position"])
        _log.info("resuming from update %d of epoch %d", position.update, position.epoch + 1)
        return position

    def _newest(self) -> int:
        """Return the number of updates (`step`) of the newest intact checkpoint; -1 without one."""
        for path in reversed(self._paths()):
            if _whole(path) is not None:
                return int(path.name.removeprefix("update-"))
            _log.warning("%s is damaged, and skipped: the one before it is tried", path)
        return -1

    def _appearing(self, path: Path) -> dict[str, Any]:
        """Wait for a checkpoint that the first process sees; return its state. Raises UserError if it does not appear."""
        until = time.monotonic() + APPEARING
        while (state := _whole(path)) is None:
            if time.monotonic() > until:
                raise UserError(
                    f"{os.uname().nodename} does not see the checkpoint {path}, which the first process of the training run"
                    " sees. All nodes must share this folder, under the same path."
                )
            time.sleep(1)
        return state

    def _path(self, step: int) -> Path:
        return self.folder / f"update-{step:09d}"

    def _paths(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("update-*") if path.is_dir())

    def _must_agree(self, path: Path, stored: Mapping[str, Any]) -> None:
        differences = [
            f"{name} is {stored.get(name)!r} there and {self.identity.get(name)!r} here"
            for name in sorted({*stored, *self.identity})
            if stored.get(name) != self.identity.get(name)
        ]
        if differences:
            raise UserError(
                f"The checkpoint {path} belongs to another training run: {'; '.join(differences)}. Remove the folder"
                f" {path.parent}, or use another study.store."
            )


def publish(work: Path, target: Path) -> None:
    """Flush a folder to disk, then rename it to `target`, which it replaces."""
    for path in [*work.rglob("*"), work]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    if target.exists():
        shutil.rmtree(target)
    work.rename(target)


def _whole(path: Path) -> dict[str, Any] | None:
    """Return the state of a checkpoint; None if a part of it is missing or changed since it was written."""
    try:
        state: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
        return state if all(file_hash(path / name) == digest for name, digest in state["files"].items()) else None
    except (OSError, ValueError, KeyError):
        return None


def _distinct_parameters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return each parameter once, by name; tied weights appear under one name."""
    return dict(model.named_parameters())


def _flat(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    return {
        f"{name}/{key}": value.detach().contiguous()
        for name, parameter in _distinct_parameters(model).items()
        for key, value in optimizer.state[parameter].items()
    }


def _restore(path: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer, device: torch.device) -> None:
    weights, moments = load_file(path / MODEL), load_file(path / OPTIMIZER)
    parameters = _distinct_parameters(model)
    assert weights.keys() == parameters.keys()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])
    for key, value in moments.items():
        name, kind = key.rsplit("/", 1)
        optimizer.state[parameters[name]][kind] = value.to(device)
