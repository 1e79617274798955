"""Slurm: buckets as tasks of an array job, heavy jobs under torchrun on one node or several. Submit, follow, send again, cancel.

Slurm starts, places, kills and queues again; this waits for the result, and decides whether what ended is to be sent again:
work that is done is never done again, since buckets leave their results and trainings their checkpoints.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ehr_pipeline.engines import batch, commands, heartbeat, post, script
from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline.engines.telling import Telling
from ehr_pipeline.errors import UserError
from ehr_pipeline.work import jobs

Job = TypeVar("Job")
Result = TypeVar("Result")
_log = logging.getLogger("ehr_pipeline")
NAME = "slurm"
SETTLING = 60.0  # seconds in which a file that was written on another machine appears here
LOOKS_IN_VAIN = 3  # the reason for which a job waits may be old for a moment
CONTINUED = {"TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL"}
"""Ends of a job that say nothing against it."""


@dataclass(frozen=True)
class Slurm:
    """A site's Slurm. `store` lies where all nodes see it."""

    settings: LauncherSettings
    store: Path

    def check(self) -> None:
        """Look whether Slurm answers, and whether the template can be filled in."""
        commands.refuse_silence()
        self.preview()

    def preview(self) -> dict[str, str]:
        """The scripts that would be sent, by what they are for; the folder in them is made when they are sent."""
        folder: Any = self.store / ".work" / "RANDOM"
        tasks = self.settings.slurm.array_tasks
        return {
            "work on buckets": script.for_buckets(self.settings, folder, "buckets", tasks, list(range(tasks))),
            "training": script.for_job(self.settings, folder, "train", "ehr_pipeline.encoder.train"),
            "embedding": script.for_job(self.settings, folder, "embed", "ehr_pipeline.embeddings.embed"),
        }

    def spread(self, function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, what: str) -> list[Result]:
        """Apply a pure function to every job, as an array job. `workers` are those of one machine, and have no effect here."""
        if not jobs:
            return []
        tasks, count = min(self.settings.slurm.array_tasks, len(jobs)), len(jobs)
        with self._folder("buckets") as folder:
            batch.pack(folder, function, jobs)
            tracking = batch.Tracking(folder, count, what)

            def written(numbers: list[int]) -> str:
                return script.for_buckets(self.settings, folder, "buckets", tasks, numbers)

            def left() -> list[int]:
                return sorted({number % tasks for number in batch.missing(folder, count)})

            self._see_through(folder, what, written, tracking.look, left)
            return batch.results(folder, function, count)

    def launch(self, job: jobs.Job) -> None:
        """Run a heavy job. What its first process logs is logged here as it comes."""
        name = job.module.rsplit(".", 1)[-1]
        with self._folder(name) as folder:
            follower = post.put_job(folder, job)

            def written(numbers: list[int]) -> str:
                return script.for_job(self.settings, folder, name, job.module)

            def left() -> list[int]:
                return [] if (folder / jobs.DONE).exists() else [0]

            self._see_through(folder, name, written, follower.look, left)

    @contextmanager
    def _folder(self, name: str) -> Iterator[Path]:
        """A folder for one piece of work. What killed processes left in Slurm is cancelled before it, and its own when it fails."""
        for path in post.left_behind(self.store):
            for job in post.sent(path, NAME):
                _log.warning("cancelling Slurm job %s, whose sender was killed", job)
                commands.cancel(job)
        with post.folder(self.store, name) as folder, heartbeat.beating(folder, self.settings.slurm.lapse_seconds):
            try:
                yield folder
            except BaseException:
                self._cancel(post.sent(folder, NAME))
                raise

    def _see_through(
        self,
        folder: Path,
        what: str,
        written: Callable[[list[int]], str],
        look: Callable[[], object],
        left: Callable[[], list[int]],
    ) -> None:
        """Send the work, and what is left of it again, until nothing is left. Raises UserError when that has no prospect."""
        restarts, continues = self.settings.restarts, self.settings.slurm.continues
        numbers = left()
        while numbers:
            ends = self._once(folder, what, written(numbers), look, left)
            numbers = left()
            if not numbers:
                return
            told = ", ".join(sorted(ends)) or "gone"
            if (folder / "error").is_file():
                raise UserError((folder / "error").read_text(encoding="utf-8"))
            lapsed = (folder / heartbeat.LAPSED).exists()
            (folder / heartbeat.LAPSED).unlink(missing_ok=True)
            if "CANCELLED" in ends and not lapsed:
                raise UserError(f"{what}: the job was cancelled in Slurm. A new run goes on with what is there.")
            if (lapsed or ends & CONTINUED) and continues:
                continues -= 1
            elif restarts:
                restarts -= 1
            else:
                logs = [path for path in sorted(folder.glob("log*.txt")) if path.stat().st_size]
                raise UserError(
                    f"{what}: the job in Slurm ended as {told}, and was sent again {self.settings.restarts} times."
                    f"\n{post.tail(logs[:3])}"
                )
            _log.info("%s: the job in Slurm ended as %s; what is left is sent again", what, told)

    def _once(
        self, folder: Path, what: str, text: str, look: Callable[[], object], left: Callable[[], list[int]]
    ) -> set[str]:
        """Send one script, follow it to its end, and return in which states it ended."""
        job = commands.submit(post.put_script(folder, "job.sh", text))
        post.note_sent(folder, NAME, job)
        _log.info("%s: sent to Slurm as job %s", what, job)
        telling, in_vain, finished = Telling(f"{what}: Slurm job {job}"), 0, 0.0
        while True:
            time.sleep(self.settings.slurm.poll_seconds)
            found = commands.states(job)
            look()
            _tell(telling, found)
            never = {reason for state, reason in found or () if state == "PENDING" and commands.will_never_run(reason)}
            in_vain = in_vain + 1 if never else 0
            if in_vain == LOOKS_IN_VAIN:
                raise UserError(
                    f"{what}: the job waits for what Slurm cannot give it ({', '.join(sorted(never))}). Change launcher.slurm"
                    " in the settings: `ehr-pipeline job-scripts` prints what is asked for."
                )
            if (folder / "error").is_file():
                self._cancel([job])  # what still runs of it is of no use
            elif any("launch failed" in reason for _, reason in found or ()):
                self._cancel([job])  # Slurm would hold it until an administrator releases it
                return {"LAUNCH_FAILED"}
            elif found is None or any(state not in commands.ENDED for state, _ in found):
                if left():
                    continue
                # Everything is there, so the job is about to end; should it not, it is of no use.
                finished = finished or time.monotonic()
                if time.monotonic() - finished < SETTLING:
                    continue
                self._cancel([job])
            ends = {state for state, _ in found or ()}
            self._settle(folder, ends, left)
            look()
            return ends

    def _settle(self, folder: Path, ends: set[str], left: Callable[[], list[int]]) -> None:
        """Wait a little for files of a job that ended well, or with an error of ours: they come later than Slurm's word."""
        until = time.monotonic() + (SETTLING if ends <= {"COMPLETED"} else min(self.settings.slurm.poll_seconds, 5.0))
        while left() and not (folder / "error").is_file() and time.monotonic() < until:
            time.sleep(0.5)

    def _cancel(self, submitted: list[str]) -> None:
        """Cancel jobs, and wait until Slurm has ended their processes."""
        if not submitted or not commands.cancel(submitted[-1]):
            return
        until = time.monotonic() + SETTLING
        while time.monotonic() < until:
            found = commands.states(submitted[-1])
            if found is not None and all(state in commands.ENDED for state, _ in found):
                return
            time.sleep(min(self.settings.slurm.poll_seconds, 1.0))


def _tell(telling: Telling, found: "Counter[tuple[str, str]] | None") -> None:
    """Say what Slurm says of a job."""
    if found is None:
        telling.tell("Slurm does not answer; its jobs go on without it", waiting=True)
        return
    counted: Counter[str] = Counter()
    for (state, reason), number in found.items():
        waits = state == "PENDING" and reason not in ("None", "(null)", "")
        counted[f"{state.lower()} ({reason})" if waits else state.lower()] += number
    text = ", ".join(f"{number} {state}" for state, number in sorted(counted.items()))
    telling.tell(text, waiting=any(state == "PENDING" for state, _ in found))
