"""Where the pipeline's work runs: this machine, a Ray cluster, Slurm, or Kubernetes. These systems, not this package, start and
place processes.

The process of a run hands two kinds of work to an engine. Both are pure functions of files and settings on shared storage:

    spread(function, jobs, workers, what)    apply the same function to every bucket
    launch(job)                              run a heavy job (training, embedding) of several processes that communicate

So one setting, `launcher.backend`, moves all work to other machines, and the data files stay the same. To add an engine, write a
module with a class that implements `base.Engine` or derives from `scheduler.Scheduler`, and add a line to `ENGINES`. In
`settings.py`, add its settings class, a field of this class to `LauncherSettings`, and its name to the values of `backend`.
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
    """Return the engine that the settings name. `store` is the folder of artifacts, through which engines also communicate."""
    module, name = ENGINES[settings.backend].split(":")
    made: Engine = getattr(importlib.import_module(module), name)(settings, store)
    return made
