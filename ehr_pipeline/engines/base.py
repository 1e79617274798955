"""The interface of every engine, and the engine that is always available: this machine."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline.work import jobs
from ehr_pipeline.work.buckets import map_buckets

Job = TypeVar("Job")
Result = TypeVar("Result")


class Engine(Protocol):
    """A place where work runs. `spread` and `launch` return when the work is done; if they are interrupted, they end the work."""

    def check(self) -> None:
        """Check whether work could be sent, without starting any. Raises UserError with what is missing."""

    def spread(self, function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, what: str) -> list[Result]:
        """Apply a pure function of files and settings to every job. Return results in the order of the jobs. Raises UserError."""

    def launch(self, job: jobs.Job) -> None:
        """Run a heavy job on `launcher.processes` processes. Raises UserError."""


@dataclass(frozen=True)
class ThisMachine:
    """Runs buckets on `workers` threads or processes (one after the other if `workers` is 1), and heavy jobs in this process."""

    settings: LauncherSettings
    store: Path

    def check(self) -> None:
        """Do nothing: this machine is always available."""

    def spread(self, function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, what: str) -> list[Result]:
        """Apply the function on this machine."""
        return map_buckets(function, jobs, workers, what)

    def launch(self, job: jobs.Job) -> None:
        """Run the job in this process; `processes` and `restarts` have no effect."""
        importlib.import_module(job.module).run(replace(job, needs_gpu=self.settings.needs_gpu))
