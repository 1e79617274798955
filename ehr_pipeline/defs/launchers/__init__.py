"""Where heavy jobs run: one file per backend, each registered in LAUNCHERS."""

from ehr_pipeline.defs.launchers.base import Launcher
from ehr_pipeline.defs.launchers.inprocess import InProcessLauncher
from ehr_pipeline.defs.launchers.torchrun import TorchrunLauncher
from ehr_pipeline.settings import LauncherSettings

__all__ = ["LAUNCHERS", "Launcher", "launcher_for"]

LAUNCHERS: dict[str, type[Launcher]] = {"inprocess": InProcessLauncher, "torchrun": TorchrunLauncher}


def launcher_for(settings: LauncherSettings) -> Launcher:
    """The launcher that the settings name."""
    return LAUNCHERS[settings.backend](processes=settings.processes, restarts=settings.restarts)
