"""Kubernetes: buckets as an indexed Job, heavy jobs as a Job of one pod, or of several, under torchrun. Submit, follow, delete.

The Job controller starts pods again that died (`launcher.restarts` times), and those of drained nodes and preempted ones without
counting. This waits for the result, and tells what the cluster says. Work that is done is never done again, since buckets leave
their results and trainings their checkpoints.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ehr_pipeline.engines import batch, heartbeat, manifest, post
from ehr_pipeline.engines.kubernetes_api import Cluster, Silence, State
from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline.engines.telling import Telling
from ehr_pipeline.errors import UserError
from ehr_pipeline.work import jobs

Job = TypeVar("Job")
Result = TypeVar("Result")
_log = logging.getLogger("ehr_pipeline")
NAME = "kubernetes"
SETTLING = 60.0  # seconds in which a file of another machine appears here, and pods end that were told to
STUCK = 180.0  # seconds for which a pod may fail to start: registries have bad moments


@dataclass(frozen=True)
class Kubernetes:
    """A cluster. `store` lies in a volume that its pods see."""

    settings: LauncherSettings
    store: Path

    def check(self) -> None:
        """Have the cluster look at the Jobs that would be sent; nothing is made."""
        manifest.refuse_other_place(self.settings, self.store)
        manifests = [manifest.parsed(text, self.settings) for text in self.preview().values()]
        Cluster(self.settings.kubernetes).try_out(manifests)

    def preview(self) -> dict[str, str]:
        """The manifests that would be sent, by what they are for; the folder in them is made when they are sent."""
        folder, tasks = self.store / ".work" / "RANDOM", self.settings.kubernetes.tasks
        return {
            "work on buckets": manifest.for_buckets(self.settings, folder, "ehr-buckets-random", tasks),
            "training": manifest.for_job(self.settings, folder, "ehr-train-random", "ehr_pipeline.encoder.train"),
            "embedding": manifest.for_job(self.settings, folder, "ehr-embed-random", "ehr_pipeline.embeddings.embed"),
        }

    def spread(self, function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, what: str) -> list[Result]:
        """Apply a pure function to every job, in pods. `workers` are those of one machine, and have no effect here."""
        if not jobs:
            return []
        tasks, count = min(self.settings.kubernetes.tasks, len(jobs)), len(jobs)
        with self._folder("buckets") as (cluster, folder):
            batch.pack(folder, function, jobs)
            tracking = batch.Tracking(folder, count, what)

            def written(name: str) -> str:
                return manifest.for_buckets(self.settings, folder, name, tasks)

            self._see_through(cluster, folder, what, written, tracking.look)
            return batch.results(folder, function, count)

    def launch(self, job: jobs.Job) -> None:
        """Run a heavy job. What its first process logs is logged here as it comes."""
        what = job.module.rsplit(".", 1)[-1]
        with self._folder(what.replace("_", "-")) as (cluster, folder):
            follower = post.put_job(folder, replace(job, threads=manifest.threads(self.settings)))

            def look() -> bool:
                follower.look()
                return (folder / jobs.DONE).exists()

            def written(name: str) -> str:
                return manifest.for_job(self.settings, folder, name, job.module)

            self._see_through(cluster, folder, what, written, look)

    @contextmanager
    def _folder(self, name: str) -> Iterator[tuple[Cluster, Path]]:
        """A folder for one piece of work. Jobs that killed processes left are removed before it, and its own at its end."""
        manifest.refuse_other_place(self.settings, self.store)
        cluster = Cluster(self.settings.kubernetes)
        for path in post.left_behind(self.store):
            for job in post.sent(path, NAME):
                _log.warning("removing the Job %s in Kubernetes, whose sender was killed", job)
                cluster.delete(job)
        lapse = self.settings.kubernetes.lapse_seconds
        with post.folder(self.store, name) as folder, heartbeat.beating(folder, lapse):
            try:
                yield cluster, folder
            except BaseException:
                self._end(cluster, post.sent(folder, NAME))
                raise
            for job in post.sent(folder, NAME):
                cluster.delete(job)

    def _see_through(
        self, cluster: Cluster, folder: Path, what: str, written: Callable[[str], str], look: Callable[[], bool]
    ) -> None:
        """Send the work, and again when its pods took this process for gone. Raises UserError when it failed.

        `look` tells progress, and returns whether all results are there once the Job is complete.
        """
        while True:
            name = f"ehr-{folder.name}" + (f"-{number}" if (number := len(post.sent(folder, NAME))) else "")
            state = self._once(cluster, folder, what, name, written(name), look)
            if (folder / "error").is_file():
                raise UserError((folder / "error").read_text(encoding="utf-8"))
            if state is None:
                raise UserError(
                    f"{what}: somebody removed the Job {name} from Kubernetes. A new run goes on with what is there."
                )
            if (folder / heartbeat.LAPSED).exists():
                (folder / heartbeat.LAPSED).unlink()
                _log.info("%s: the Job ended, as this process had stood still; what is left is sent again", what)
                cluster.delete(name)
            elif state.ended == "Failed":
                raise UserError(
                    f"{what}: the Job {name} in Kubernetes failed ({state.reason}).\n{cluster.logs(name)}".rstrip()
                )
            elif look():
                return
            else:
                raise UserError(
                    f"{what}: the Job {name} in Kubernetes is complete, but results are missing in {folder}. Do its pods see the"
                    " same folder under this path (launcher.kubernetes.volumes)?"
                )

    def _once(
        self, cluster: Cluster, folder: Path, what: str, name: str, text: str, look: Callable[[], bool]
    ) -> State | None:
        """Send one manifest, follow it to its end, and return how it ended; None when it is not there any more."""
        post.put_script(folder, "job.yaml", text)
        post.note_sent(folder, NAME, name)  # before it is sent: the answer may get lost
        cluster.submit(manifest.parsed(text, self.settings))
        _log.info("%s: sent to Kubernetes as Job %s in the namespace %s", what, name, cluster.namespace)
        telling, stuck, finished = Telling(f"{what}: Kubernetes"), 0.0, 0.0
        while True:
            time.sleep(self.settings.kubernetes.poll_seconds)
            done = look()
            if (folder / "error").is_file():
                return State()  # what still runs is of no use; it is removed by who asked
            # When everything is there the Job is about to end; should it not, it is of no use.
            finished = (finished or time.monotonic()) if done else 0.0
            if finished and time.monotonic() - finished > SETTLING:
                return State("Complete")
            try:
                state = cluster.look(name)
            except Silence as silence:
                telling.tell(f"the cluster does not answer; its pods go on without it ({silence})", waiting=True)
                continue
            if state is None:
                return None
            if state.ended:
                self._settle(folder, state, look)
                return state
            telling.tell(state.told, state.waiting)
            stuck = (stuck or time.monotonic()) if state.stuck else 0.0
            if stuck and time.monotonic() - stuck > STUCK:
                raise UserError(
                    f"{what}: a pod of the Job {name} cannot start ({state.stuck}). Look at launcher.kubernetes in the settings."
                )

    def _settle(self, folder: Path, state: State, look: Callable[[], bool]) -> None:
        """Wait a little for files of pods that ended: they come later than the cluster's word."""
        failed = state.ended == "Failed"
        until = time.monotonic() + (min(self.settings.kubernetes.poll_seconds, 5.0) if failed else SETTLING)
        signs = [folder / "error", folder / heartbeat.LAPSED]
        while time.monotonic() < until and not any(sign.exists() for sign in signs) and (failed or not look()):
            time.sleep(0.5)
        look()

    def _end(self, cluster: Cluster, sent: list[str]) -> None:
        """Remove the Job that was sent last, and wait until its pods have ended."""
        if not sent or not cluster.delete(sent[-1], wait=True):
            return
        until = time.monotonic() + SETTLING
        while cluster.is_there(sent[-1]) and time.monotonic() < until:
            time.sleep(min(self.settings.kubernetes.poll_seconds, 1.0))
