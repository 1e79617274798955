"""Runs whose process is gone, processes whose run has ended, and second servers."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ehr_pipeline.defs import liveness, serve
from ehr_pipeline.errors import UserError
from ehr_pipeline_tests.processes import alive, until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# The process of a run, which a test can kill.
PROCESS = """
import sys, time
import dagster as dg
from ehr_pipeline.defs import liveness
with dg.DagsterInstance.from_config(sys.argv[1]) as instance, liveness.running(instance, sys.argv[2]):
    print("running", flush=True)
    time.sleep(60)
"""


def later() -> float:
    return time.time() + 2 * liveness.GRACE


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PAUSE", 0.0)


@dg.op(pool="training")
def trained() -> None:
    pass


@dg.job
def training() -> None:
    trained()


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("EHR_STATE_DIR", str(tmp_path / "state"))
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        yield instance


def started(instance: dg.DagsterInstance, status: dg.DagsterRunStatus = dg.DagsterRunStatus.STARTED) -> dg.DagsterRun:
    return instance.create_run_for_job(training, status=status)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    found: list[subprocess.Popen[str]] = []
    yield found
    for process in found:
        process.kill()
        process.communicate()


def process_of(run: dg.DagsterRun, home: Path, processes: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROCESS, str(home), run.run_id],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    processes.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    return process


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> dg.DagsterRunStatus:
    found = instance.get_run_by_id(run.run_id)
    assert found is not None
    return found.status


def test_a_run_whose_process_was_killed_is_ended_and_frees_its_place_in_the_pool(
    instance: dg.DagsterInstance, tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    instance.event_log_storage.set_concurrency_slots("training", 1)
    run = started(instance)
    process = process_of(run, tmp_path, processes)
    instance.event_log_storage.claim_concurrency_slot("training", run.run_id, "trained")
    assert liveness.reap(instance, later()) == [], "its process is there"
    assert status(instance, run) == dg.DagsterRunStatus.STARTED

    process.send_signal(signal.SIGKILL)
    process.wait()
    assert instance.event_log_storage.get_concurrency_info("training").active_slot_count == 1
    assert len(liveness.reap(instance)) == 1, "its lock tells, whatever its age"
    assert status(instance, run) == dg.DagsterRunStatus.FAILURE
    assert instance.event_log_storage.get_concurrency_info("training").active_slot_count == 0
    assert liveness.reap(instance) == []


def test_a_run_that_told_of_its_end_but_kept_its_place_in_the_pool_loses_it(
    instance: dg.DagsterInstance, tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    """Otherwise the next run waits for it until Dagster looks, for up to three minutes."""
    storage = instance.event_log_storage
    storage.set_concurrency_slots("training", 2)
    ended, goes_on = started(instance), started(instance)
    process_of(goes_on, tmp_path, processes)
    for one in (ended, goes_on):
        storage.claim_concurrency_slot("training", one.run_id, "trained")
        instance.report_run_failed(one)
    assert [told for told in liveness.end_ghosts(instance) if ended.run_id[:8] in told]
    assert storage.get_concurrency_info("training").active_run_ids == {goes_on.run_id}, "its process works still"
    assert liveness.end_ghosts(instance) == []


def test_a_run_without_a_lock_is_ended_when_it_is_old(instance: dg.DagsterInstance) -> None:
    run = started(instance, dg.DagsterRunStatus.STARTING)
    assert liveness.reap(instance) == [], "it may be about to take its lock"
    assert len(liveness.reap(instance, later())) == 1
    assert status(instance, run) == dg.DagsterRunStatus.FAILURE


def test_a_run_that_was_being_cancelled_ends_as_cancelled(instance: dg.DagsterInstance) -> None:
    run = started(instance, dg.DagsterRunStatus.CANCELING)
    liveness.reap(instance, later())
    assert status(instance, run) == dg.DagsterRunStatus.CANCELED


def test_waiting_and_finished_runs_stay_as_they_are(instance: dg.DagsterInstance) -> None:
    runs = [started(instance, status) for status in (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.SUCCESS)]
    assert liveness.reap(instance, later()) == []
    assert [status(instance, run).value for run in runs] == ["NOT_STARTED", "SUCCESS"]


def test_a_run_that_ends_while_somebody_looks_is_no_ghost(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives up its lock, and then tells of its end."""
    run = started(instance)
    monkeypatch.setattr(time, "sleep", lambda seconds: instance.report_dagster_event(success, run.run_id))
    success = dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name)
    assert liveness.end_ghosts(instance, later(), liveness.GRACE) == []
    assert status(instance, run) == dg.DagsterRunStatus.SUCCESS


def test_a_server_puts_in_order_what_could_not_tell_of_its_end_and_survives_a_state_that_cannot_be_read(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A run that dies on a full disk cannot write that it did; its lock is gone, or held by nobody."""
    ghost, young = started(instance), started(instance)
    (liveness._folder(instance) / f"{ghost.run_id}.lock").touch()  # type: ignore[operator]
    looks: list[float] = []

    class Server:
        def __init__(self, *command: object, **options: object):
            pass

        def wait(self, seconds: float | None = None) -> int:
            looks.append(seconds or 0)
            if len(looks) == 3:
                return 7
            raise subprocess.TimeoutExpired("dg", seconds or 0)

    def away() -> dg.DagsterInstance:
        if len(looks) == 1:
            raise OSError(28, "No space left on device")
        return dg.DagsterInstance.from_ref(instance.get_ref())

    monkeypatch.setattr(serve.subprocess, "Popen", Server)  # type: ignore[attr-defined]
    monkeypatch.setattr(dg.DagsterInstance, "get", staticmethod(away))
    assert serve._serve(Path(), 1, "127.0.0.1") == 7
    assert "could not clean up orphaned runs in Dagster's database (OSError)" in caplog.text
    assert status(instance, ghost) == dg.DagsterRunStatus.FAILURE
    assert status(instance, young) == dg.DagsterRunStatus.STARTED


def test_a_process_whose_run_was_marked_as_ended_is_ended_too(
    instance: dg.DagsterInstance, tmp_path: Path, processes: list[subprocess.Popen[str]]
) -> None:
    run = started(instance)
    process = process_of(run, tmp_path, processes)
    instance.report_run_canceled(run)
    assert len(liveness.reap(instance)) == 1
    process.wait(30)
    assert until(lambda: not alive(process.pid))


def test_a_second_server_of_one_home_is_refused_by_the_number_of_the_first(tmp_path: Path) -> None:
    with (
        liveness.only_server(tmp_path),
        pytest.raises(UserError, match=rf"Another server runs on .* \(process {os.getpid()}\)"),
        liveness.only_server(tmp_path),
    ):
        pass
    with liveness.only_server(tmp_path):
        pass
