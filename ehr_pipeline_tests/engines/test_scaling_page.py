"""The commands of docs/scaling.md, as they stand there, on a real Ray cluster, a real Slurm, and a stand-in for Kubernetes."""

import importlib.util
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline_tests.conftest import write_settings
from ehr_pipeline_tests.engines import kubernetes_site, slurm_site
from ehr_pipeline_tests.processes import free_port, until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/scaling.md").read_text(encoding="utf-8")


def blocks(heading: str, language: str) -> list[str]:
    """The fenced blocks of a language in a section."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


@pytest.mark.parametrize(
    ("backend", "dying"),
    [
        (
            "On this machine",
            ["a worker on buckets", "a process of a training", "the server", "the run, by SIGKILL", "Ctrl-C"],
        ),
        (
            "Ray",
            ["a worker on buckets", "a process of a training", "the scheduler", "the run (Ray's driver)", "Ctrl-C"],
        ),
        ("Slurm", ["a worker on buckets", "a process of a training", "the scheduler", "the run, by SIGKILL", "Ctrl-C"]),
        (
            "Kubernetes",
            ["a worker on buckets", "one of several pods", "the scheduler", "the run, by SIGKILL", "Ctrl-C"],
        ),
        ("Copies in an object store", ["`push`", "`pull`"]),
    ],
)
def test_every_kind_of_death_has_a_test(backend: str, dying: list[str]) -> None:
    table = PAGE.split("\n## When something dies\n")[1].split(f"\n### {backend}\n")[1].split("\n#")[0]
    _, _, *rows = [line for line in table.splitlines() if line.startswith("|")]
    for row in rows:
        ((file, name),) = re.findall(r"`([\w/]+\.py)::(\w+)` \|$", row)
        assert f"\ndef {name}(" in (ROOT / "ehr_pipeline_tests" / file).read_text(encoding="utf-8"), row
    assert [each for each in dying if each not in table] == []


def run(commands: str, settings: Path, environment: dict[str, str]) -> str:
    """Run the lines of a block; what they print."""
    told = ""
    for line in commands.splitlines():
        name, *words = shlex.split(line.replace("my_study.toml", str(settings)))
        assert name == "ehr-pipeline"
        done = subprocess.run(
            [sys.executable, "-m", "ehr_pipeline.cli", *words],
            cwd=settings.parent,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        told += done.stdout + done.stderr
    return told


def study(extract: Path, folder: Path, launcher: str) -> tuple[Path, dict[str, str]]:
    """Settings with the launcher of a block, and the environment of a home of its own."""
    values = tomllib.loads(launcher)
    path = write_settings(folder / "study.toml", extract, folder / "store", **values)
    home = {"EHR_STATE_DIR": str(folder / "state"), "DAGSTER_HOME": str(ROOT), "PYTHONPATH": str(ROOT)}
    return path, home


def assert_same(folder: Path, tiny: Pipeline) -> None:
    """The data set is the one that was made inline."""
    store = Store(folder / "store")
    for asset in ("patient_dataset", "data_split"):
        assert store.current(asset).data_version == tiny.store.current(asset).data_version


@contextmanager
def started(line: str) -> Iterator[None]:
    """A command that runs until it is ended; it ends all that it started."""
    process = subprocess.Popen(
        shlex.split(line),
        env=os.environ | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra 'ray' is not installed")
def test_the_commands_for_ray(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    starting, running = blocks("Ray", "sh")
    (launcher,) = blocks("Ray", "toml")
    port = free_port()
    head, other = starting.replace("HEAD:6379", f"127.0.0.1:{port}").replace("6379", str(port)).splitlines()
    ray = str(Path(sys.executable).with_name("ray"))
    small = "--num-cpus=1 --object-store-memory=100000000"
    settings, home = study(extract, tmp_path, launcher.replace("HEAD:6379", f"127.0.0.1:{port}"))
    with ExitStack() as stack:
        stack.enter_context(started(f"{head.replace('ray', ray, 1)} {small} --include-dashboard=false"))
        assert until(lambda: answers(port), 60)
        stack.enter_context(started(f"{other.replace('ray', ray, 1)} {small}"))
        assert until(lambda: nodes(port) == 2, 120)
        told = run(running, settings, os.environ | home)
    assert "settings and inputs are in order" in told
    assert_same(tmp_path, tiny)


def answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def nodes(port: int) -> int:
    code = f"import ray; ray.init('127.0.0.1:{port}', log_to_driver=False); print(sum(n['Alive'] for n in ray.nodes()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return int(done.stdout.split()[-1]) if done.returncode == 0 else 0


def test_the_commands_for_slurm(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    (commands,) = blocks("Slurm", "sh")
    (launcher,) = blocks("Slurm", "toml")
    settings, home = study(extract, tmp_path, launcher)
    with slurm_site.running() as site:
        told = run(commands, settings, site.environment | home)
        assert set(site.states().values()) == {"COMPLETED"}
    assert "#SBATCH --time=24:00:00" in told
    assert "export OMP_WAIT_POLICY=passive" in told
    assert told.count("sent to Slurm as job") == 3
    assert_same(tmp_path, tiny)


def test_ending_a_run_of_dagster_cancels_its_job(extract: Path, tmp_path: Path) -> None:
    (launcher,) = blocks("Slurm", "toml")
    settings, home = study(extract, tmp_path, launcher)
    with slurm_site.running() as site:
        node = site.run("sinfo", "--noheader", "--Format=NodeList").strip()
        site.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")  # so that the job waits
        command = [sys.executable, "-m", "ehr_pipeline.cli", "run", "--settings", str(settings)]
        with (tmp_path / "told").open("wb") as told:
            run = subprocess.Popen(command, cwd=tmp_path, env=site.environment | home, stdout=told, stderr=told)
        assert until(lambda: b"pending" in (tmp_path / "told").read_bytes()), (tmp_path / "told").read_text()
        run.send_signal(signal.SIGINT)
        assert run.wait(60) != 0
        assert set(site.states().values()) == {"CANCELLED"}
        site.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
    assert list((tmp_path / "store" / ".work").iterdir()) == []


@pytest.mark.skipif(importlib.util.find_spec("kubernetes") is None, reason="the extra 'k8s' is not installed")
def test_the_commands_for_kubernetes(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    _, commands = blocks("Kubernetes", "sh")
    (launcher,) = blocks("Kubernetes", "toml")
    settings, home = study(extract, tmp_path, launcher.replace('"/data"', f'"{tmp_path}"'))
    with kubernetes_site.running(tmp_path / "cluster") as site:
        told = run(commands, settings, os.environ | home | {"KUBECONFIG": str(site.kubeconfig)})
        assert site.jobs == {}
        assert len(site.names) == 3
    assert "settings and inputs are in order" in told
    assert told.count("kind: Job") == 6  # printed, and before each was sent
    assert told.count("sent to Kubernetes as Job") == 3
    assert_same(tmp_path, tiny)


@pytest.mark.skipif(importlib.util.find_spec("kubernetes") is None, reason="the extra 'k8s' is not installed")
def test_ending_a_run_of_dagster_removes_its_job(extract: Path, tmp_path: Path) -> None:
    (launcher,) = blocks("Kubernetes", "toml")
    settings, home = study(extract, tmp_path, launcher.replace('"/data"', f'"{tmp_path}"'))
    with kubernetes_site.running(tmp_path / "cluster") as site:
        site.room = 0  # so that the Job waits
        command = [sys.executable, "-m", "ehr_pipeline.cli", "run", "--settings", str(settings)]
        with (tmp_path / "told").open("wb") as told:
            environment = os.environ | home | {"KUBECONFIG": str(site.kubeconfig)}
            run = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=told, stderr=told)
        assert until(lambda: b"pending" in (tmp_path / "told").read_bytes()), (tmp_path / "told").read_text()
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) != 0
        assert site.names == site.deleted
        assert site.jobs == {}
    assert list((tmp_path / "store" / ".work").iterdir()) == []
