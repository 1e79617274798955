"""Ray: run buckets as Ray Core tasks, and heavy jobs as actors of a placement group, in which each runs the usual torch code.

Ray Core is used directly, not through dagster-ray. The process of the run is the driver, so its death ends everything that it
started, and Dagster is not needed. Each piece of work connects and disconnects, so nothing stays in the cluster's memory.
"""

import importlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from ehr_pipeline.engines import bucket_worker, job_folder
from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline.errors import UserError
from ehr_pipeline.work import jobs
from ehr_pipeline.work.buckets import release_all
from ehr_pipeline.work.progress import Progress, StatusLog

Job = TypeVar("Job")
Result = TypeVar("Result")
_log = logging.getLogger("ehr_pipeline")
TASKS_PER_PLACE = 4  # tasks for each place in the cluster: small tasks keep the wait for the last one short
LOOK = 1.0  # seconds between two checks
Resources = dict[str, float]


@dataclass(frozen=True)
class Ray:
    """A Ray cluster that is already running. `store` is on storage that all of its machines share."""

    settings: LauncherSettings
    store: Path

    def check(self) -> None:
        """Check that the cluster answers, and has machines that could hold a task and a job. Raises UserError."""
        with _connected(self.settings) as ray:
            _refuse_infeasible(ray, [_task_needs(self.settings)], "work on buckets")
            _refuse_infeasible(ray, _job_needs(self.settings), "training and embedding")
            if not self.settings.ray.job_gpus and any(node.get("GPU") for node in _nodes(ray)):
                _log.warning(
                    "The Ray cluster has GPUs, but launcher.ray.job_gpus is 0: training and embedding use CPUs."
                )

    def spread(self, function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, what: str) -> list[Result]:
        """Apply a pure function to every job, as Ray tasks. `workers` is for one machine, and has no effect here."""
        if not jobs:
            return []
        needs = _task_needs(self.settings)
        with _connected(self.settings) as ray:
            _refuse_infeasible(ray, [needs], what)
            places = sum(
                int(min(node.get(name, 0) // amount for name, amount in needs.items())) for node in _nodes(ray)
            )
            chunks = min(len(jobs), TASKS_PER_PLACE * places)
            # Ray retries a task whose worker was killed (memory, a lost machine), but not one that raised an exception.
            task = ray.remote(
                num_cpus=needs["CPU"],
                memory=needs.get("memory"),
                max_retries=self.settings.restarts,
                retry_exceptions=False,
            )(_work)
            sent, software = {}, bucket_worker.software()
            progress = Progress(what, len(jobs))
            found: dict[int, list[Result]] = {}
            for number in range(chunks):
                sent[task.remote(software, function, list(jobs[number::chunks]))] = number
            try:
                while sent:
                    ready, _ = ray.wait(list(sent), timeout=LOOK)
                    if not ready:
                        _refuse_infeasible(ray, [needs], what)
                    for each in ready:
                        number = sent.pop(each)
                        found[number] = self._result(ray, each, what)
                        progress.advance(len(found[number]))
            except BaseException:
                for each in sent:
                    ray.cancel(each, force=True)
                raise
        return [found[number % chunks][number // chunks] for number in range(len(jobs))]

    def launch(self, job: jobs.Job) -> None:
        """Run a heavy job. The log lines of its first process are logged here as they arrive."""
        what = job.module.rsplit(".", 1)[-1]
        bundles = _job_needs(self.settings)
        with _connected(self.settings) as ray, job_folder.folder(self.store, what) as folder:
            follower = job_folder.write_job(folder, job, needs_gpu=self.settings.needs_gpu)
            error_file = folder / jobs.ERROR
            for attempt in range(self.settings.restarts + 1):
                _refuse_infeasible(ray, bundles, what)
                failure = self._attempt(
                    ray, (job.module, (folder / job_folder.JOB).read_text(encoding="utf-8")), bundles, what, follower
                )
                follower.look()
                if failure is None:
                    return
                if error_file.is_file():
                    raise UserError(error_file.read_text(encoding="utf-8"))
                _log.info("%s: attempt %d ended: %s", what, attempt + 1, failure.splitlines()[-1])
        raise UserError(
            f"The job {job.module} on {len(bundles)} processes failed, and was started again {self.settings.restarts} times."
            f"\n{failure}"
        )

    def _attempt(
        self, ray: Any, job: tuple[str, str], bundles: list[Resources], what: str, follower: job_folder.Follower
    ) -> str | None:
        """Start all processes, and wait until they end. Returns what went wrong in the first that failed, or None."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        group = ray.util.placement_group(bundles, strategy="PACK")
        actors: list[Any] = []
        try:
            self._wait_for_places(ray, group, bundles, what)
            actor = ray.remote(num_cpus=bundles[0]["CPU"], num_gpus=bundles[0].get("GPU", 0), max_restarts=0)(Rank)
            actors = [
                actor.options(scheduling_strategy=PlacementGroupSchedulingStrategy(group, number)).remote()
                for number in range(len(bundles))
            ]
            address, port = ray.get(actors[0].meeting_place.remote())
            hosts = ray.get([each.host.remote() for each in actors])
            running = {}
            for number, each in enumerate(actors):
                environment = _environment(number, hosts, bundles[number])
                meeting = {"MASTER_ADDR": address, "MASTER_PORT": str(port)}
                running[each.run.remote(*job, environment | meeting)] = number
            while running:
                ready, _ = ray.wait(list(running), timeout=LOOK)
                follower.look()
                for each in ready:
                    number = running.pop(each)
                    code, text = ray.get(each)
                    if code:
                        return f"process {number} on {hosts[number]}: {text}"
            return None
        except ray.exceptions.RayActorError as error:
            return f"a process was killed, or its machine was lost: {str(error).splitlines()[0]}"
        except ray.exceptions.RayError as error:  # such as a module that is not installed on that machine
            return str(error)
        finally:
            for each in actors:
                ray.kill(each)
            ray.util.remove_placement_group(group)

    def _wait_for_places(self, ray: Any, group: Any, bundles: list[Resources], what: str) -> None:
        """Wait until the cluster has room. Raises UserError if it would be too small even when empty."""
        telling = StatusLog(f"{what}: waiting for {len(bundles)} x {bundles[0]}; free now")
        while not group.wait(timeout_seconds=LOOK):
            _refuse_infeasible(ray, bundles, what)
            free = {name: left for name, left in ray.available_resources().items() if name in ("CPU", "GPU", "memory")}
            telling.status(str(free), waiting=True)

    def _result(self, ray: Any, reference: Any, what: str) -> list[Any]:
        try:
            failed, results = ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise UserError(f"{what}: work on a bucket failed.\n{error}") from None
        except ray.exceptions.RayError as error:
            raise UserError(
                f"{what}: a worker was killed, and was started again {self.settings.restarts} times; most likely memory ran out."
                f" Set launcher.ray.bucket_gigabytes, or more records.buckets. ({str(error).splitlines()[0]})"
            ) from None
        if failed:
            raise UserError(failed)
        return list(results)


def _work(software: dict[str, str], function: Callable[[Any], Any], jobs: list[Any]) -> tuple[str, list[Any]]:
    """Do some jobs on a worker. Returns the message of an error that the user can fix, or '', and the results."""
    _end_with_node()
    try:
        bucket_worker.refuse_other(software)
        results = [function(job) for job in jobs]
    except UserError as error:
        return str(error), []
    finally:
        release_all()
    return "", results


@cache
def _end_with_node() -> None:
    """End this process with its Ray node: Ray itself does so only between tasks, and a training run is one task."""
    node = os.getppid()

    def wait() -> None:
        while os.getppid() == node:
            time.sleep(LOOK)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


class Rank:
    """One process of a heavy job, on a worker."""

    def host(self) -> str:
        """Return the name of the process's machine."""
        return os.uname().nodename

    def meeting_place(self) -> tuple[str, int]:
        """Return an address and a free port where all processes meet (torch's rendezvous)."""
        import ray

        util: Any = ray.util  # for mypy: untyped if Ray is installed, unknown if it is not
        with socket.socket() as free:
            free.bind(("", 0))
            return util.get_node_ip_address(), free.getsockname()[1]

    def run(self, module: str, job: str, environment: dict[str, str]) -> tuple[int, str]:
        """Run `module.run(job)`. Returns the exit code, and what went wrong."""
        _end_with_node()
        os.environ.update(environment)
        run = importlib.import_module(module).run
        return jobs.perform(run, jobs.from_json(run, job))


def _environment(number: int, hosts: list[str], needs: Resources) -> dict[str, str]:
    """Return the environment of process `number` of a job. `hosts` lists the machine of each of its processes.

    A process that requested a GPU sees only that one. Ray would show all GPUs of the machine to a process that requested none,
    and all such processes would use the first.
    """
    return {
        "RANK": str(number),
        "WORLD_SIZE": str(len(hosts)),
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": str(hosts.count(hosts[number])),
        **({} if needs.get("GPU") else {"CUDA_VISIBLE_DEVICES": ""}),
    }


@contextmanager
def _connected(settings: LauncherSettings) -> Iterator[Any]:
    """Yield the module `ray`, connected to the cluster. Raises UserError if it is not installed, or no cluster answers."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ["RAY_TQDM_PATCH_PRINT"] = "0"  # numba cannot compile when `print` has been replaced
    try:
        import ray
    except ImportError:
        raise UserError(
            "launcher.backend is 'ray', but ray is not installed: pip install 'ehr-pipeline[ray]'."
        ) from None
    if ray.is_initialized():  # a notebook may have its own connection
        yield ray
        return
    main = threading.current_thread() is threading.main_thread()
    handlers = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)} if main else {}
    try:
        _knock(settings.ray.address)
        ray.init(settings.ray.address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(
            f"launcher.ray.address: no Ray cluster answers at {settings.ray.address!r} ({str(error).splitlines()[0]}). Start one"
            " with `ray start --head`, and give the address that it prints."
        ) from None
    try:
        for each, handler in handlers.items():
            signal.signal(each, handler)  # Ray's handlers would end the process before Dagster learns of the signal
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raise OSError or ValueError if nothing listens at HOST:PORT: Ray would retry for minutes, then end the process."""
    if address != "auto":
        host, _, port = address.removeprefix("ray://").rpartition(":")
        socket.create_connection((host, int(port)), timeout=10).close()


def _task_needs(settings: LauncherSettings) -> Resources:
    ray = settings.ray
    return {"CPU": ray.bucket_cpus} | ({"memory": ray.bucket_gigabytes * 1e9} if ray.bucket_gigabytes else {})


def _job_needs(settings: LauncherSettings) -> list[Resources]:
    ray = settings.ray
    return [{"CPU": ray.job_cpus} | ({"GPU": float(ray.job_gpus)} if ray.job_gpus else {})] * settings.processes


def _nodes(ray: Any) -> list[Resources]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _refuse_infeasible(ray: Any, bundles: list[Resources], what: str) -> None:
    """Raise UserError when the machines of the cluster could not hold all `bundles` at once, even if they did nothing else.

    Ray itself would wait forever.
    """
    nodes = [dict(node) for node in _nodes(ray)]
    for bundle in bundles:
        fitting = [node for node in nodes if all(node.get(name, 0) >= amount for name, amount in bundle.items())]
        if not fitting:
            has = "; ".join(
                ", ".join(f"{node[name]:g} {name}" for name in ("CPU", "GPU", "memory") if name in node)
                for node in _nodes(ray)
            )
            asked = ", ".join(f"{amount:g} {name}" for name, amount in bundle.items())
            raise UserError(
                f"{what}: the Ray cluster can never run {len(bundles)} x ({asked}) at once. Its machines have: {has}."
                " Change launcher.processes or launcher.ray, or add machines."
            )
        for name, amount in bundle.items():
            fitting[0][name] -= amount
