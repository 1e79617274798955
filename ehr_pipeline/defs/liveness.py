"""Find out which runs are alive: each holds a lock until its process ends. Ages and process numbers do not matter.

If a server is killed, Dagster does not check whether the processes of its runs still exist. Such a run stays "started" for ever and
keeps its slot in the pool, so that no training can start. Conversely, a run that was forcibly marked as ended may still be running.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from ehr_pipeline.defs import servers
from ehr_pipeline.store.build_lock import exclusive, try_lock

IN_PROGRESS = (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING)
ENDED = (dg.DagsterRunStatus.CANCELED, dg.DagsterRunStatus.FAILURE)
GRACE = 60.0  # seconds that a started run has to take its lock, unless its server is known to be gone
PAUSE = 3.0  # seconds between two checks, since a run releases its lock shortly before it reports its end
LONG_GRACE = 180.0  # like GRACE, while a server runs: the time Dagster allows a run to start, even on a busy machine
SERVER = "server.lock"


@contextmanager
def running(instance: dg.DagsterInstance, run_id: str) -> Iterator[None]:
    """Hold the lock of a run while it runs in this process. Does nothing for an instance that keeps nothing on disk."""
    folder = _folder(instance)
    if folder is None:
        yield
        return
    path = folder / f"{run_id}.lock"
    descriptor = _lock(path)
    try:
        if descriptor is not None:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        if descriptor is not None:
            path.unlink(missing_ok=True)
            os.close(descriptor)


def reap(instance: dg.DagsterInstance, now: float | None = None) -> list[str]:
    """At startup, mark runs without a process as failed, and end the processes of runs that were marked as ended.

    Returns sentences on what was done. Queued runs stay queued.
    """
    return end_ghosts(instance, now, GRACE) + _end_processes(instance)


def end_ghosts(instance: dg.DagsterInstance, now: float | None = None, grace: float = LONG_GRACE) -> list[str]:
    """Mark runs without a process as failed, and free their pool slots. Return sentences on what was done.

    Such a run can also appear while the server is up, when a full disk keeps a process from reporting its end.
    """
    folder, done = _folder(instance), []
    if folder is None:
        return []
    ghosts = _ghosts(instance, folder, now, grace)
    if ghosts:
        time.sleep(PAUSE)
        ghosts = _ghosts(instance, folder, now, grace)
    for run in ghosts:
        message = "The process of this run is gone: the server or the machine was stopped. Finished assets are kept."
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, message)
        else:
            instance.report_run_failed(run, message)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
        (folder / f"{run.run_id}.lock").unlink(missing_ok=True)
        done.append(f"run {run.run_id[:8]} was {run.status.value.lower()}, but its process is gone: marked as ended")
    return done + _free_places(instance, folder)


def _free_places(instance: dg.DagsterInstance, folder: Path) -> list[str]:
    """Free the pool slots of runs that have ended. On a full disk a process may report its end but not free its slots."""
    storage, done = instance.event_log_storage, []
    pools = [storage.get_concurrency_info(pool) for pool in storage.get_concurrency_keys()]
    for run_id in sorted({run_id for pool in pools for run_id in pool.active_run_ids | pool.assigned_run_ids}):
        run = instance.get_run_by_id(run_id)
        if run is not None and run.is_finished and not _is_held(folder / f"{run_id}.lock"):
            storage.free_concurrency_slots_for_run(run_id)
            done.append(f"run {run_id[:8]} had ended, but still occupied a place in a pool: freed")
    return done


def _ghosts(instance: dg.DagsterInstance, folder: Path, now: float | None, grace: float) -> list[dg.DagsterRun]:
    """Return runs in progress that seem to have no process, according to a single check."""
    ghosts = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=list(IN_PROGRESS))):
        run = record.dagster_run
        path = folder / f"{run.run_id}.lock"
        young = (now or time.time()) - record.update_timestamp.timestamp() < grace
        # Check the server before the lock, so that a process that takes its lock between the two checks is still seen.
        gone = servers.is_gone(run.tags.get(servers.TAG, ""), run.run_id)
        if not _is_held(path) and (path.is_file() or gone or not young):
            ghosts.append(run)
    return ghosts


def _end_processes(instance: dg.DagsterInstance) -> list[str]:
    """End processes of runs that were marked as ended."""
    folder, done = _folder(instance), []
    for path in folder.glob("*.lock") if folder else ():
        run = instance.get_run_by_id(path.stem)
        if run is not None and run.status in ENDED and _is_held(path):
            pid = int(path.read_text() or 0)
            if pid and pid != os.getpid():
                os.kill(pid, signal.SIGTERM)
                done.append(f"run {path.stem[:8]} had ended, but its process was still running: ended it")
    return done


@contextmanager
def only_server(state: Path) -> Iterator[None]:
    """Hold the server lock of a Dagster home. Raises UserError if it is held: two daemons would start everything twice."""
    path = state / SERVER
    other = path.read_text() if path.is_file() else ""
    busy = f"Another server runs on {state} (process {other or '?'}). Use it, or end it, or set DAGSTER_HOME and EHR_STATE_DIR to"
    with exclusive(path, f"{busy} other folders.") as descriptor:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield


def _folder(instance: dg.DagsterInstance) -> Path | None:
    """Return the folder of the run locks, next to the state of the instance; None for an instance that keeps nothing on disk."""
    if instance.is_ephemeral:
        return None
    folder = Path(os.environ.get("EHR_STATE_DIR") or instance.root_directory) / "running"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lock(path: Path) -> int | None:
    """Take and return the lock of a run; None if another process keeps it. Retries for 1 s: `_is_held` may hold it briefly."""
    for _ in range(100):
        descriptor = try_lock(path)
        if descriptor is not None:
            return descriptor
        time.sleep(0.01)
    return None


def _is_held(path: Path) -> bool:
    """Return whether a process holds the lock. Creates no file, since the run may just be removing it."""
    try:
        descriptor = try_lock(path, make=False)
    except FileNotFoundError:
        return False
    if descriptor is None:
        return True
    os.close(descriptor)
    return False
