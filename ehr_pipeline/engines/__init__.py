"""Where the chain's work runs: this machine, a Ray cluster, Slurm, or Kubernetes. Existing engines start and place
processes; we do not.

Two kinds of work leave the process of a run, and both are pure functions of files and settings on storage that all machines share:

    spread(function, jobs, workers, what)    the same function on every bucket
    launch(module, job)                      a heavy job (training, embedding) of several processes that know each other

So one setting, `launcher.backend`, moves the chain, and the data files are the same.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from ehr_pipeline.engines.settings import LauncherSettings

if TYPE_CHECKING:
    from ehr_pipeline.engines.base import Engine


def engine_for(settings: LauncherSettings, store: Path) -> "Engine":
    """The engine that the settings name. `store` is the folder of the artifacts, where engines leave messages for each other."""
    match settings.backend:
        case "slurm":
            from ehr_pipeline.engines.slurm import Slurm

            return Slurm(settings, store)
        case "kubernetes":
            from ehr_pipeline.engines.kubernetes import Kubernetes

            return Kubernetes(settings, store)
        case "ray":
            from ehr_pipeline.engines.ray import Ray

            return Ray(settings, store)
        case _:
            from ehr_pipeline.engines.base import ThisMachine

            return ThisMachine()
