"""Which server launched a run, and whether anybody of it is left who could start it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

from ehr_pipeline.defs import liveness, servers
from ehr_pipeline_tests.defs.test_liveness import ROOT, started, status, training

pytestmark = pytest.mark.slow

# Runs in a new process, as a process of a server: it listens, and goes on until its input ends.
LISTENING = """
import socket, sys
with socket.socket(socket.AF_UNIX) as listening:
    listening.bind(sys.argv[1])
    listening.listen()
    print("listening", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness, "PAUSE", 0.0)


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setenv("EHR_STATE_DIR", str(tmp_path / "state"))
    launcher = {"run_launcher": {"module": "ehr_pipeline.defs.servers", "class": "NotingRunLauncher"}}
    with dg.instance_for_test(overrides=launcher, temp_dir=str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def server() -> str:
    return servers.name()


@pytest.fixture
def process(server: str, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """One of the server's processes."""
    command = [sys.executable, "-c", LISTENING, str(tmp_path / "socket")]
    environment = os.environ | {servers.VARIABLE: server}
    with subprocess.Popen(command, env=environment, text=True, stdin=-1, stdout=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listening\n"
        yield process
        process.kill()


def launched(instance: dg.DagsterInstance, note: str) -> dg.DagsterRun:
    run = started(instance, dg.DagsterRunStatus.STARTING)
    instance.add_run_tags(run.run_id, {servers.TAG: note.format(run=run.run_id)})
    return run


def test_a_run_that_nobody_is_left_to_start_is_ended_at_once_and_not_before(
    instance: dg.DagsterInstance, server: str, process: "subprocess.Popen[str]"
) -> None:
    run = launched(instance, f"{server} {{run}}")
    assert liveness.end_ghosts(instance) == [], "a process of its server lives: it may be the run's"
    process.kill()
    process.wait()
    assert len(liveness.end_ghosts(instance)) == 1
    assert status(instance, run) == dg.DagsterRunStatus.FAILURE


def test_a_run_whose_process_holds_its_lock_lives_whoever_launched_it(
    instance: dg.DagsterInstance, server: str
) -> None:
    run = launched(instance, f"{server} {{run}}")
    with liveness.running(instance, run.run_id):
        assert liveness.end_ghosts(instance) == []
    assert len(liveness.end_ghosts(instance)) == 1


@pytest.mark.parametrize("other", ["other-boot", "other-container", "other-user", "parent", "none"])
def test_what_cannot_be_known_is_left_to_time(instance: dg.DagsterInstance, server: str, other: str) -> None:
    boot, container, user, number = server.split("/", 3)
    note = {
        "other-boot": f"0{boot}/{container}/{user}/{number} {{run}}",
        "other-container": f"{boot}/{container}0/{user}/{number} {{run}}",
        "other-user": f"{boot}/{container}/{user}0/{number} {{run}}",
        "parent": f"{server} the-run-that-is-tried-again",
        "none": "",
    }[other]
    run = launched(instance, note)
    assert liveness.end_ghosts(instance) == []
    assert status(instance, run) == dg.DagsterRunStatus.STARTING


@pytest.mark.parametrize("whose", ["ours", "somebody else's", "gone"])
def test_the_launcher_notes_its_server_where_the_runs_are_processes_of_it(
    instance: dg.DagsterInstance,
    server: str,
    process: "subprocess.Popen[str]",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whose: str,
) -> None:
    notes: list[dict[str, str]] = []

    def launch(self: DefaultRunLauncher, context: object) -> None:
        notes.append({key: value for key, value in found().tags.items() if key == servers.TAG})

    monkeypatch.setattr(DefaultRunLauncher, "launch_run", launch)
    monkeypatch.setenv(servers.VARIABLE, server if whose != "somebody else's" else servers.name())
    path = tmp_path / ("none" if whose == "gone" else "socket")
    origin = SimpleNamespace(repository_origin=SimpleNamespace(code_location_origin=SimpleNamespace(location_name="x")))
    run = instance.create_run_for_job(training, status=dg.DagsterRunStatus.STARTING)

    def found() -> dg.DagsterRun:
        again = instance.get_run_by_id(run.run_id)
        assert again is not None
        return again

    context = SimpleNamespace(
        dagster_run=SimpleNamespace(run_id=run.run_id, remote_job_origin=origin),
        workspace=SimpleNamespace(
            get_code_location=lambda name: SimpleNamespace(client=SimpleNamespace(socket=str(path)))
        ),
    )
    assert isinstance(instance.run_launcher, servers.NotingRunLauncher)
    instance.run_launcher.launch_run(context)  # type: ignore[arg-type]
    assert notes == [{servers.TAG: f"{server} {run.run_id}"} if whose == "ours" else {}]


def test_a_process_that_hides_what_it_was_started_with_counts_unless_it_is_older(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hides(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", hides)
    *place, begun, number = server.split("/")
    assert not servers.is_gone(f"{server} run", "run"), "this process is as old as the server"
    assert servers.is_gone("/".join([*place, str(int(begun) + 10**9), number]) + " run", "run")


def test_the_launcher_is_the_one_of_our_dagster_yaml() -> None:
    assert "module: ehr_pipeline.defs.servers, class: NotingRunLauncher" in (ROOT / "dagster.yaml").read_text()
