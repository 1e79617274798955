"""What every engine does, and the one that is always there: this machine."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline.work import jobs
from ehr_pipeline.work.buckets import map_buckets

Job = TypeVar("Job")
Result = TypeVar("Result")


class Engine(Protocol):
    """A place where work runs. Its methods return when the work is done, and end it when they are interrupted."""

    def check(self) -> None:
        """Look whether work could be sent. Raises UserError with what is missing; starts nothing."""

    def preview(self) -> dict[str, str]:
        """What would be sent to a scheduler, by what it is for; empty where there is none."""

    def spread(self, function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, what: str) -> list[Result]:
        """Apply a pure function of files and settings to every job; results in order of the jobs. Raises UserError."""

    def launch(self, job: jobs.Job) -> None:
        """Run a heavy job on `launcher.processes` processes. Raises UserError."""


@dataclass(frozen=True)
class ThisMachine:
    """Buckets on `workers` threads or processes, one after the other when that is 1; heavy jobs as a plain call."""

    settings: LauncherSettings
    store: Path

    def check(self) -> None:
        """The machine is there."""

    def preview(self) -> dict[str, str]:
        """Nothing is sent."""
        return {}

    def spread(self, function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, what: str) -> list[Result]:
        """Apply the function here."""
        return map_buckets(function, jobs, workers, what)

    def launch(self, job: jobs.Job) -> None:
        """Run the job in this process; `processes` and `restarts` have no effect."""
        importlib.import_module(job.module).run(job)
