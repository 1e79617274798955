"""Make the assets that the clusters do not need in a second process, while a run makes the clusters.

Once there is an encoder, predictions and clusters do not depend on one another. With `launcher.branches = 2`, a run then starts a
process that makes what the clusters do not need (`LATER`). The run makes everything else first, waits for the assets that are not
ready, and finds them in the store. If the process fails or is killed, the run makes them itself, and tells what is wrong with
them. So results, checks and errors are those of one process.

Training and embedding use all cores or GPUs of a machine, so the two processes take turns at starting such jobs.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.engines import job_folder
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import build_lock, durable
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import CLUSTER_REPORTS, ENCODER_CHECKPOINT, PATIENT_TRAJECTORIES
from ehr_pipeline.work import die_with_parent, jobs, progress

LOOK = 0.2  # seconds between two checks of the other process
ENDING = 60.0  # seconds that it has to end its job after a cancellation
TURN = "turn"


def _before(asset: str) -> set[str]:
    """All assets that an asset needs, directly or not."""
    declared = ASSETS[asset]
    reads = {*declared.reads, *declared.reads_for_sides}
    return reads.union(*map(_before, reads))


LATER = tuple(
    name
    for name in ASSETS
    if ENCODER_CHECKPOINT in _before(name)
    and name not in {CLUSTER_REPORTS, PATIENT_TRAJECTORIES} | _before(PATIENT_TRAJECTORIES)
)
"""The assets that need the encoder, and that clusters do not need, but for the clusters' report, which comes last: relations of
concepts, and predictions."""


@dataclass(frozen=True, kw_only=True)
class Ahead(jobs.Job):
    """The work of the second process: some assets, in this order, and what a `Pipeline` needs to make them."""

    module: ClassVar[str] = "ehr_pipeline.runs.beside"
    study: Study
    versions: dict[str, str]
    overrides: dict[str, Any]
    assets: tuple[str, ...]


class TwoBranches(Pipeline):
    """A pipeline that has a second process make those of the assets `LATER` that are also in `wanted`."""

    def __init__(
        self, study: Study, versions: Mapping[str, str], overrides: Mapping[str, Any], wanted: Collection[str]
    ):
        super().__init__(study, versions, overrides)
        self._wanted, self._open = tuple(name for name in LATER if name in wanted), ExitStack()
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def asset(self, name: str, launch: jobs.Launch | None = None) -> Artifact:
        """Make one asset, or take it from the second process. That process starts when there is an encoder."""
        launch, ahead = launch or self.engine.launch, False
        if self._folder and name in self._wanted:
            ahead = self._waited(self._folder / name)
        made = super().asset(name, _in_turn(launch, self._folder) if self._folder else launch)
        if name == ENCODER_CHECKPOINT and self._wanted:
            self._start()
        return replace(made, skipped=made.skipped and not ahead)

    def close(self) -> None:
        """End the second process, if it still runs."""
        self._open.close()
        self._folder = None

    def _start(self) -> None:
        folder = self._open.enter_context(build_lock.scratch(self.store.root))
        job = Ahead(
            study=self.study, versions=dict(self._versions_meant), overrides=self.overrides, assets=self._wanted
        )
        follower = job_folder.put_job(folder, job, needs_gpu=False, logs_to_stderr=False)
        command = [sys.executable, str(die_with_parent.__file__), sys.executable, "-m", job.module]
        with (folder / "processes.log").open("ab") as output:
            process = subprocess.Popen(
                [*command, "--job", str(folder / job_folder.JOB)],
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in a terminal reaches the run, which ends this process
            )
        self._open.callback(follower.look)
        self._open.callback(_end, process)
        self._open.enter_context(progress.repeated(1.0, follower.look))
        self._folder, self._process = folder, process

    def _waited(self, note: Path) -> bool:
        """Wait until the other process has made an asset, or has ended. Returns whether it made the asset in this run."""
        while not note.exists() and self._process and self._process.poll() is None:
            time.sleep(LOOK)
        return note.is_file() and note.read_text(encoding="ascii") == "made"


def _end(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        jobs.end_process(process, ENDING)


def _in_turn(launch: jobs.Launch, folder: Path) -> jobs.Launch:
    """A function that runs a heavy job when the other process runs none."""

    def run(job: jobs.Job) -> None:
        with _turn(folder):
            launch(job)

    return run


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    while (lock := build_lock.try_lock(folder / TURN)) is None:
        time.sleep(LOOK)
    try:
        yield
    finally:
        os.close(lock)


def run(job: Ahead) -> None:
    """Make the assets of a job, and note each that is ready. Raises UserError; what was made before stays."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # an engine ends its jobs, wherever they run
    pipeline, folder = Pipeline(job.study, job.versions, job.overrides), job.reports_to
    assert folder is not None
    log = logging.getLogger("ehr_pipeline")
    for asset in job.assets:
        log.addFilter(named := _Named(asset))
        started = time.monotonic()
        made = pipeline.asset(asset, _in_turn(pipeline.engine.launch, folder))
        if not made.skipped:
            log.info("was made beside in %s", progress.duration(time.monotonic() - started))
        log.removeFilter(named)
        durable.write_atomically(folder / asset, "unchanged" if made.skipped else "made")


class _Named(logging.Filter):
    """Begins each line with the asset that it is about."""

    def __init__(self, asset: str):
        super().__init__()
        self._asset = asset

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the name."""
        record.msg = f"{self._asset}: {record.msg}"
        return True


if __name__ == "__main__":
    jobs.main(run)
