"""Where heavy jobs run: one file per backend, each registered in LAUNCHERS."""

import dagster as dg

from ehr_pipeline.defs.launchers.base import Launcher
from ehr_pipeline.defs.launchers.cluster import ClusterLauncher
from ehr_pipeline.defs.launchers.inline import InlineLauncher
from ehr_pipeline.defs.launchers.torchrun import TorchrunLauncher
from ehr_pipeline.engines.settings import LauncherSettings

__all__ = ["LAUNCHERS", "Launcher", "launcher", "launcher_for"]

LAUNCHERS: dict[str, type[Launcher]] = {
    "inline": InlineLauncher,
    "processes": TorchrunLauncher,
    "ray": ClusterLauncher,
    "slurm": ClusterLauncher,
    "kubernetes": ClusterLauncher,
}


def launcher_for(settings: LauncherSettings, store: str) -> Launcher:
    """The launcher that the settings name, for the artifacts in a folder."""
    return LAUNCHERS[settings.backend](store=store, processes=settings.processes, restarts=settings.restarts)


@dg.resource(
    required_resource_keys={"pipeline"},
    description="Where heavy jobs of a run go: `[launcher]` in the settings.",
)
def launcher(context: dg.InitResourceContext) -> Launcher:
    """The resource `launcher`. It has no field of its own in the launchpad: what a run overrides is in the run's settings."""
    study = context.resources.pipeline.study
    return launcher_for(study.launcher, study.study.store)
