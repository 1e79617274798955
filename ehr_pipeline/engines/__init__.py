"""Where the chain's work runs: this machine, a Ray cluster, Slurm, or Kubernetes. Processes are started and placed by existing
engines, not by this package.

Two kinds of work leave the process of a run. Both are pure functions of files and settings on storage that all machines share:

    spread(function, jobs, workers, what)    apply the same function to every bucket
    launch(job)                              run a heavy job (training, embedding) of several processes that communicate

So one setting, `launcher.backend`, moves the whole chain, and the data files stay the same. To add an engine, write a module with a
class that implements `base.Engine` or derives from `scheduler.Scheduler`, its settings in `settings.py`, and a line in `ENGINES`.
"""

import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from ehr_pipeline.engines.settings import LauncherSettings

if TYPE_CHECKING:
    from ehr_pipeline.engines.base import Engine


ENGINES = {
    "inline": "ehr_pipeline.engines.base:ThisMachine",
    "processes": "ehr_pipeline.engines.torchrun:Torchrun",
    "ray": "ehr_pipeline.engines.ray:Ray",
    "slurm": "ehr_pipeline.engines.slurm:Slurm",
    "kubernetes": "ehr_pipeline.engines.kubernetes:Kubernetes",
}
"""Module and class of each engine, by `launcher.backend`. A module is imported only when its engine is used."""


def engine_for(settings: LauncherSettings, store: Path) -> "Engine":
    """Return the engine that the settings name. `store` is the folder of artifacts; engines also communicate through it."""
    module, name = ENGINES[settings.backend].split(":")
    made: Engine = getattr(importlib.import_module(module), name)(settings, store)
    return made
