"""Where heavy jobs run: one file per backend, each registered in LAUNCHERS."""

from ehr_pipeline.defs.launchers.base import Launcher
from ehr_pipeline.defs.launchers.cluster import ClusterLauncher
from ehr_pipeline.defs.launchers.inline import InlineLauncher
from ehr_pipeline.defs.launchers.torchrun import TorchrunLauncher
from ehr_pipeline.engines.settings import LauncherSettings

__all__ = ["LAUNCHERS", "Launcher", "launcher_for"]

LAUNCHERS: dict[str, type[Launcher]] = {
    "inline": InlineLauncher,
    "processes": TorchrunLauncher,
    "ray": ClusterLauncher,
    "slurm": ClusterLauncher,
    "kubernetes": ClusterLauncher,
}


def launcher_for(settings: LauncherSettings) -> Launcher:
    """The launcher that the settings name."""
    return LAUNCHERS[settings.backend](processes=settings.processes, restarts=settings.restarts)
