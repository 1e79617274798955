"""What the machine decides about a computation: resolved once, on the machine that computes, and recorded.

`precision = "auto"` and `compile = "auto"` leave a choice to the processor, and results differ by it. A training settles the choice
when it begins, for all of its processes, and keeps its precision wherever it is continued. Vectors are computed in the precision of
the encoder that they come from. An artifact's fingerprint names what was decided (`artifacts.Recipe.machine`).
"""

import json
from pathlib import Path
from typing import Any

import torch

from ehr_pipeline.encoder.devices import fast_bfloat16, from_first
from ehr_pipeline.store import durable
from ehr_pipeline.work import jobs

FILE = "machine.json"
PRECISIONS = ("float32", "bfloat16")
UNRECORDED = "float32"
"""The precision in which vectors are computed whose encoder does not say in which it was trained."""

Machine = dict[str, str]
"""What was decided: device ('cpu', 'cuda'), precision ('float32', 'bfloat16') and, of a training, compiled ('yes', 'no')."""


def of_training(wish: str, compiled: bool, device: torch.device, folder: Path) -> Machine:
    """What decides the results of the training in a folder; written there by the first process, whose machine decides for all.

    `wish` is the precision of the settings ('auto', 'float32', 'bfloat16'), `compiled` whether the layers are compiled here. A
    training that is continued keeps the precision with which it began. Where it is continued on another device, both are named.
    """
    before = json.loads((folder / FILE).read_text(encoding="utf-8")) if (folder / FILE).is_file() else {}
    precision = before.get("precision") or precision_for(wish, device)
    precision = PRECISIONS[from_first(PRECISIONS.index(precision), device)]
    here = {"device": device.type, "precision": precision, "compiled": "yes" if compiled else "no"}
    machine = _joined(before, here)
    if jobs.rank() == 0:
        durable.write_atomically(folder / FILE, json.dumps(machine) + "\n")
    return machine


def precision_for(wish: str, device: torch.device) -> str:
    """The precision of a training on this machine: `wish` is 'auto', 'float32' or 'bfloat16'."""
    if wish != "auto":
        return wish
    return "bfloat16" if fast_bfloat16(device) else "float32"


def precision_of(wish: str, config: Any) -> str:
    """The precision in which a checkpoint's vectors are computed: that of its training, unless the settings name one."""
    if wish != "auto":
        return wish
    found = getattr(config, "precision", None)
    return found if found in PRECISIONS else UNRECORDED


def note(work: Path, machine: Machine) -> None:
    """Note in the work folder of a job what this process decides. Every process may; several machines may share a job."""
    (work / "machine").mkdir(exist_ok=True)
    (work / "machine" / "-".join(f"{name}={value}" for name, value in sorted(machine.items()))).touch()


def noted(work: Path) -> Machine:
    """What the processes of a job noted, together; nothing where none ran."""
    machine: Machine = {}
    for path in sorted((work / "machine").glob("*")):
        machine = _joined(machine, dict(part.split("=", 1) for part in path.name.split("-")))
    return machine


def _joined(before: Machine, now: Machine) -> Machine:
    """What two machines decided of the same work: 'cpu and cuda' where they differ."""
    return before | {
        name: " and ".join(sorted({*before.get(name, value).split(" and "), value})) for name, value in now.items()
    }
