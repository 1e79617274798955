"""Where the chain's work runs: this machine, a Ray cluster, Slurm, or Kubernetes. Existing engines start and place
processes; we do not.

Two kinds of work leave the process of a run, and both are pure functions of files and settings on storage that all machines share:

    spread(function, jobs, workers, what)    the same function on every bucket
    launch(job)                              a heavy job (training, embedding) of several processes that know each other

So one setting, `launcher.backend`, moves the chain, and the data files are the same. A new engine is a module with a class as in
`base.Engine`, or one of `scheduler.Scheduler`, its settings in `settings.py`, and a line in `ENGINES`.
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
"""Module and class of each engine, by `launcher.backend`. A module is imported only where its engine is used."""


def engine_for(settings: LauncherSettings, store: Path) -> "Engine":
    """The engine that the settings name. `store` is the folder of the artifacts, where engines leave messages for each other."""
    module, name = ENGINES[settings.backend].split(":")
    made: Engine = getattr(importlib.import_module(module), name)(settings, store)
    return made
