"""Make and record the choices that depend on the machine that computes.

`precision = "auto"` and `compile = "auto"` depend on the hardware, and results differ accordingly. A training run makes these
choices once, at its start, for all its processes, and keeps its precision wherever it is resumed. Vectors are computed in the
precision of the encoder that makes them. An artifact's fingerprint includes the choices (`artifacts.Recipe.machine`).
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ehr_pipeline.store import durable
from ehr_pipeline.work import jobs

if TYPE_CHECKING:
    import torch

FILE = "machine.json"
PRECISIONS = ("float32", "bfloat16")
UNRECORDED = "float32"
"""The precision used if a checkpoint does not record the precision of its training."""

Machine = dict[str, str]
"""The choices: device ('cpu', 'cuda'), precision ('float32', 'bfloat16') and, for a training run, compiled ('yes', 'no')."""


def of_training(wish: str, compiled: bool, device: "torch.device", folder: Path) -> Machine:
    """Return the choices for the training run in a folder. The machine of the first process decides for all processes, and records
    the choices there.

    `wish` is the precision in the settings ('auto', 'float32', 'bfloat16'); `compiled` is whether layers are compiled here. A
    resumed run keeps the precision with which it began. If it is resumed on another device, both devices are recorded.
    """
    from ehr_pipeline.encoder.devices import from_first

    before = json.loads((folder / FILE).read_text(encoding="utf-8")) if (folder / FILE).is_file() else {}
    precision = before.get("precision") or precision_for(wish, device)
    precision = PRECISIONS[from_first(PRECISIONS.index(precision), device)]
    here = {"device": device.type, "precision": precision, "compiled": "yes" if compiled else "no"}
    machine = _joined(before, here)
    if jobs.rank() == 0:
        durable.write_atomically(folder / FILE, json.dumps(machine) + "\n")
    return machine


def precision_for(wish: str, device: "torch.device") -> str:
    """Return the precision of a training run on this machine: `wish` is 'auto', 'float32' or 'bfloat16'."""
    if wish != "auto":
        return wish
    from ehr_pipeline.encoder.devices import fast_bfloat16

    return "bfloat16" if fast_bfloat16(device) else "float32"


def precision_of(wish: str, config: Any) -> str:
    """Return the precision for the vectors of a checkpoint: that of its training, unless the settings name one."""
    if wish != "auto":
        return wish
    precision = getattr(config, "precision", None)
    return precision if precision in PRECISIONS else UNRECORDED


def note(work: Path, machine: Machine) -> None:
    """Record the choices of this process in the job's work folder. Any process may record; a job may span several machines."""
    (work / "machine").mkdir(exist_ok=True)
    (work / "machine" / "-".join(f"{name}={value}" for name, value in sorted(machine.items()))).touch()


def noted(work: Path) -> Machine:
    """Return the choices that all processes of a job recorded, combined; empty if none ran."""
    machine: Machine = {}
    for path in sorted((work / "machine").glob("*")):
        machine = _joined(machine, dict(part.split("=", 1) for part in path.name.split("-")))
    return machine


def _joined(before: Machine, now: Machine) -> Machine:
    """Combine the choices of two machines for the same work: 'cpu and cuda' if they differ."""
    return before | {
        name: " and ".join(sorted({*before.get(name, value).split(" and "), value})) for name, value in now.items()
    }
