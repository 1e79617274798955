"""Run work on the machines of a scheduler: write a script, submit it, poll until it ends, and resubmit unfinished work.

The subclasses (`slurm`, `kubernetes`) implement these steps and report why work ended. Finished work is never repeated, because
buckets leave results behind, and training runs leave checkpoints.
"""

import logging
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import jinja2

from ehr_pipeline.engines import bucket_worker, heartbeat, job_folder
from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline.errors import UserError
from ehr_pipeline.work import jobs
from ehr_pipeline.work.progress import StatusLog

Job = TypeVar("Job")
Result = TypeVar("Result")
_log = logging.getLogger("ehr_pipeline")
SETTLING = 60.0  # seconds that a file of another machine may take to appear here, and cancelled processes to end


class SchedulerUnavailable(Exception):
    """Raised when the scheduler does not answer at the moment. Its jobs continue."""


@dataclass(frozen=True)
class State:
    """State of one job, as the scheduler reports it."""

    text: str = ""
    """What the job is doing, or how it ended."""
    waiting: bool = False
    """Whether the job, or a part of it, waits for something."""
    stuck: str = ""
    """Why the job would wait forever, as a sentence that says what to do; empty otherwise."""
    ended: Literal["", "well", "badly", "blameless", "removed"] = ""
    """'' until the job has ended; 'blameless' if it ended through no fault of its work, 'removed' if somebody cancelled it."""


@dataclass(frozen=True)
class _Work:
    """One piece of work, in a folder that all machines share."""

    folder: Path
    what: str
    write: Callable[[str, list[int]], str]
    """Takes the name of the job and the numbers of tasks, and returns the script for these tasks."""
    left: Callable[[], list[int]]
    """Returns the tasks that are not done yet. Logs progress."""

    @property
    def error(self) -> Path:
        """File with the message of an error that the user can fix; it exists only after such an error."""
        return self.folder / jobs.ERROR

    @property
    def lapsed(self) -> Path:
        """File that exists when the job ended because the heartbeat of this process had stopped."""
        return self.folder / heartbeat.LAPSED


class Scheduler(ABC):
    """An engine that submits its work to a scheduler. `store` is on storage that all machines share."""

    backend: ClassVar[str]
    script: ClassVar[str]
    """File name of the script that is submitted."""
    section: Any
    """Settings of the scheduler: `template`, `poll_seconds`, `lapse_seconds`, and those specific to it."""

    def __init__(self, settings: LauncherSettings, store: Path):
        self.settings, self.store, self.section = settings, store, getattr(settings, self.backend)

    # What each subclass defines.

    tasks: int
    """Number of tasks into which work on buckets is divided."""
    restarts: int
    """How often work is submitted again after it failed."""
    continues: int
    """How often work is submitted again after it ended through no fault of its own, such as a lost node."""
    patience: float
    """Seconds after which work that would wait forever is given up."""

    @abstractmethod
    def check(self) -> None:
        """Check whether work could be sent. Raises UserError with what is missing; starts nothing."""

    @abstractmethod
    def for_buckets(self, folder: Path, name: str, tasks: int, numbers: list[int]) -> str:
        """Return the script for work on buckets: the tasks with these `numbers`, out of `tasks`."""

    @abstractmethod
    def for_job(self, folder: Path, name: str, module: str) -> str:
        """Return the script of a heavy job under torchrun."""

    @abstractmethod
    def submit(self, script: Path, name: str, what: str) -> str:
        """Submit a script, and record its job in the script's folder (`job_folder.note_sent`). Returns the scheduler's id."""

    @abstractmethod
    def look(self, job: str) -> State:
        """Return the state of a job. Raises SchedulerUnavailable when the scheduler does not answer."""

    @abstractmethod
    def cancel(self, job: str) -> bool:
        """End a job, whatever its state. Returns whether the scheduler accepted that."""

    @abstractmethod
    def is_gone(self, job: str) -> bool:
        """Return whether the processes of a cancelled job have ended, according to the scheduler."""

    @abstractmethod
    def why(self, job: str, state: State, folder: Path) -> str:
        """Return a sentence that says why work is unfinished although its job ended, followed by the end of the log."""

    @abstractmethod
    def tidy(self, job: str) -> None:
        """Remove the scheduler's leftovers of a job whose work is done."""

    # What all subclasses share.

    def label(self, job: str) -> str:
        """Return the words that begin each log line about a job."""
        return f"{self.backend.capitalize()} job {job}"

    def preview(self) -> dict[str, str]:
        """Return the scripts that would be sent, as purpose: script, with a placeholder for the folder created on sending."""
        train, embed = ("ehr_pipeline.encoder.train", "ehr_pipeline.embeddings.embed")
        folder = self.store / ".work" / "RANDOM"
        return {
            "work on buckets": self.for_buckets(folder, "ehr-buckets-random", self.tasks, list(range(self.tasks))),
            "training": self.for_job(folder, "ehr-train-random", train),
            "embedding": self.for_job(folder, "ehr-embed-random", embed),
        }

    def spread(self, function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, what: str) -> list[Result]:
        """Apply a pure function to every job. `workers` is for a single machine, and has no effect here."""
        if not jobs:
            return []
        tasks = min(self.tasks, len(jobs))
        with self._folder("buckets") as folder:
            bucket_worker.pack(folder, function, jobs)
            tracking = bucket_worker.Tracking(folder, len(jobs), what)

            def write(name: str, numbers: list[int]) -> str:
                return self.for_buckets(folder, name, tasks, numbers)

            def left() -> list[int]:
                return sorted({number % tasks for number in tracking.missing()})

            self._see_through(_Work(folder, what, write, left))
            return bucket_worker.results(folder, function, len(jobs))

    def launch(self, job: jobs.Job) -> None:
        """Run a heavy job. The log lines of its first process are logged here as they arrive."""
        what = job.module.rsplit(".", 1)[-1]
        with self._folder(what.replace("_", "-")) as folder:
            follower = job_folder.write_job(folder, job, needs_gpu=self.settings.needs_gpu)

            def write(name: str, numbers: list[int]) -> str:
                return self.for_job(folder, name, job.module)

            def left() -> list[int]:
                follower.look()
                return [] if (folder / jobs.DONE).exists() else [0]

            self._see_through(_Work(folder, what, write, left))

    @contextmanager
    def _folder(self, kind: str) -> Iterator[Path]:
        """Yield a folder for one piece of work. Cancels jobs left by killed processes, and this work's jobs if it fails."""
        for path in job_folder.abandoned(self.store):
            for job in job_folder.sent(path, self.backend):
                _log.warning("cancelling %s, whose sender was killed", self.label(job))
                self.cancel(job)
        with job_folder.folder(self.store, kind) as folder, heartbeat.beating(folder, self.section.lapse_seconds):
            try:
                yield folder
            except BaseException:
                self._cancel_all(job_folder.sent(folder, self.backend))
                raise
            for job in job_folder.sent(folder, self.backend):
                self.tidy(job)

    def _see_through(self, work: _Work) -> None:
        """Submit the work, and its unfinished tasks again, until all are done. Raises UserError if submitting again cannot help."""
        restarts, continues = self.restarts, self.continues
        while numbers := work.left():
            job, state = self._once(work, numbers)
            if not work.left():
                return
            if work.error.is_file():
                raise UserError(work.error.read_text(encoding="utf-8"))
            lapsed = work.lapsed.exists()
            work.lapsed.unlink(missing_ok=True)
            if state.ended == "removed" and not lapsed:
                raise UserError(f"{work.what}: {state.text}. A new run resumes from the finished work.")
            if (lapsed or state.ended == "blameless") and continues:
                continues -= 1
            elif restarts:
                restarts -= 1
            else:
                raise UserError(f"{work.what}: {self.why(job, state, work.folder)}".rstrip())
            how = "because this process had sent no heartbeat" if lapsed else f"as {state.text}"
            _log.info("%s: %s ended %s; submitting the remaining work again", work.what, self.label(job), how)

    def _once(self, work: _Work, numbers: list[int]) -> tuple[str, State]:
        """Submit some tasks, and poll until they end. Returns the job's id and its final state."""
        again = len(job_folder.sent(work.folder, self.backend))
        name = f"ehr-{work.folder.name}" + (f"-{again}" if again else "")
        job = self.submit(job_folder.write_script(work.folder, self.script, work.write(name, numbers)), name, work.what)
        telling, finished, stuck = StatusLog(f"{work.what}: {self.label(job)}"), 0.0, 0.0
        while True:
            time.sleep(self.section.poll_seconds)
            done, now = not work.left(), time.monotonic()
            if work.error.is_file():
                return job, State()  # tasks that still run are useless; `_folder` cancels them
            # When all results exist, the job is about to end. If it does not end, it is useless, and is cancelled.
            finished = (finished or now) if done else 0.0
            if finished and now - finished > SETTLING:
                self.cancel(job)
                return job, State()
            try:
                state = self.look(job)
            except SchedulerUnavailable as silence:
                telling.status(str(silence), waiting=True)
                continue
            telling.status(state.text, state.waiting)
            if state.ended:
                self._settle(work, state)
                return job, state
            stuck = (stuck or now) if state.stuck else 0.0
            if stuck and now - stuck >= self.patience:
                raise UserError(f"{work.what}: {state.stuck}")

    def _settle(self, work: _Work, state: State) -> None:
        """Wait briefly for the files of a job that ended: they may appear after the scheduler has reported the end."""
        until = time.monotonic() + (SETTLING if state.ended == "well" else min(self.section.poll_seconds, 5.0))
        while work.left() and time.monotonic() < until and not (work.error.exists() or work.lapsed.exists()):
            time.sleep(0.5)

    def _cancel_all(self, submitted: list[str]) -> None:
        """Cancel jobs, and wait until their processes have ended."""
        cancelled = [job for job in submitted if self.cancel(job)]
        until = time.monotonic() + SETTLING
        while any(not self.is_gone(job) for job in cancelled) and time.monotonic() < until:
            time.sleep(min(self.section.poll_seconds, 1.0))


def fill(path: Path, setting: str, values: dict[str, Any]) -> str:
    """Fill in a template, which a site can edit. Raises UserError with the problem and its place; `setting` is the name of its
    setting."""
    rules = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (no HTML; values that are not ours are quoted by the template)
    )
    rules.filters["quote"] = lambda value: shlex.quote(str(value))
    try:
        return rules.from_string(path.read_text(encoding="utf-8")).render(**values)
    except (OSError, UnicodeDecodeError, jinja2.TemplateError) as error:
        line = f", line {error.lineno}" if isinstance(error, jinja2.TemplateSyntaxError) else ""
        raise UserError(f"{path} ({setting}){line}: {error}.") from None
