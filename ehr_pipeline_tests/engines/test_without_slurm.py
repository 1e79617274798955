"""What needs no Slurm: scripts, and what becomes of a job's end, as a stand-in for Slurm's commands tells it."""

import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline import cli
from ehr_pipeline.engines import bucket_worker, engine_for, heartbeat, node, slurm
from ehr_pipeline.engines.settings import LauncherSettings, SlurmSettings
from ehr_pipeline.errors import SettingsError, UserError
from ehr_pipeline.events import build as events
from ehr_pipeline.patients import dataset
from ehr_pipeline.records import finish_bucket
from ehr_pipeline.store.bucket_cache import Memory
from ehr_pipeline.study import settings
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline_tests.engines.work import Bucket, square
from ehr_pipeline_tests.processes import until


class Scheduler:
    """Stands in for Slurm's commands: each job does its work at once, or not, and ends as it is told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *ends: str, works_from: int):
        self.ends, self.works_from, self.sent, self.cancelled = list(ends), works_from, 0, 0
        monkeypatch.setattr(slurm, "_run", self.run)

    def run(self, command: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
        of = {"sbatch": self.submit, "squeue": self.states, "scancel": self.cancel}[command]
        return subprocess.CompletedProcess([command, *arguments], 0, of(*arguments), "")

    def submit(self, _: str, script: str) -> str:
        self.sent += 1
        if self.sent >= self.works_from:
            bucket_worker.main(Path(script).parent, 0, 1)
        return f"{self.sent}\n"

    def states(self, *options: str) -> str:
        (job,) = (option.removeprefix("--jobs=") for option in options if option.startswith("--jobs="))
        state, _, reason = self.ends[int(job) - 1].partition(" ")
        return f"{'CANCELLED' if self.cancelled == self.sent else state:50}{reason:50}\n"

    def cancel(self, job: str) -> str:
        self.cancelled = int(job)
        return ""


def spread(folder: Path, restarts: int = 0, continues: int = 1) -> list[int]:
    own = SlurmSettings(array_tasks=1, poll_seconds=0.01, continues=continues)
    engine: Any = engine_for(LauncherSettings(backend="slurm", restarts=restarts, slurm=own), folder / "store")
    found: list[int] = engine.spread(square, [Bucket(folder, 3)], 1, "squares")
    return found


@pytest.mark.parametrize("end", ["TIMEOUT", "PREEMPTED", "NODE_FAIL", "BOOT_FAIL"])
def test_an_end_that_says_nothing_against_the_work_is_no_restart(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = Scheduler(monkeypatch, end, "COMPLETED", works_from=2)
    assert spread(tmp_path) == [9]
    assert scheduler.sent == 2
    Scheduler(monkeypatch, end, works_from=2)
    with pytest.raises(UserError, match=f"ended as {end}"):
        spread(tmp_path, continues=0)


@pytest.mark.parametrize("end", ["FAILED", "OUT_OF_MEMORY", "PENDING launch failed requeued held"])
def test_other_ends_are_restarts(end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Scheduler(monkeypatch, end, "COMPLETED", works_from=2).sent == 0
    assert spread(tmp_path, restarts=1) == [9]
    Scheduler(monkeypatch, end, works_from=2)
    with pytest.raises(UserError, match="squares: the job in Slurm ended as"):
        spread(tmp_path)


def test_a_job_that_ended_since_its_sender_stood_still_is_sent_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = Scheduler(monkeypatch, "CANCELLED", "COMPLETED", works_from=2)
    submit = scheduler.submit

    def lapse(option: str, script: str) -> str:
        if scheduler.sent == 0:
            Path(script).with_name(heartbeat.LAPSED).touch()
        return submit(option, script)

    monkeypatch.setattr(scheduler, "submit", lapse)
    assert spread(tmp_path) == [9]


@pytest.mark.parametrize(
    ("reason", "never"),
    [
        ("PartitionConfig", True),
        ("QOSMaxCpuPerJobLimit", True),
        ("AssocMaxGRESPerJob", True),
        ("Resources", False),
        ("Priority", False),
        ("QOSMaxCpuPerUserLimit", False),
        ("BeginTime", False),
    ],
)
def test_some_reasons_to_wait_are_in_vain(reason: str, never: bool) -> None:
    assert slurm.will_never_run(reason) == never


def test_a_job_that_waits_in_vain_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler = Scheduler(monkeypatch, "PENDING PartitionTimeLimit", works_from=2)
    with pytest.raises(UserError, match="PartitionTimeLimit"):
        spread(tmp_path)
    assert scheduler.cancelled == 1


def test_numbers_are_written_as_ranges() -> None:
    assert slurm.ranges([0, 1, 2, 5, 7, 8]) == "0-2,5,7-8"
    assert slurm.ranges([4]) == "4"


def test_a_script_has_what_the_settings_say(tmp_path: Path) -> None:
    own = SlurmSettings(
        job_options=("--gres=gpu:4",), setup=("module load cuda",), python="/a folder/python", lapse_seconds=30
    )
    launcher = LauncherSettings(backend="slurm", processes=8, nodes=2, threads=3, slurm=own)
    text = slurm.Slurm(launcher, tmp_path).for_job(Path("/shared/store/x"), "ehr-train-1", "ehr_pipeline.encoder.train")
    for line in ("#SBATCH --nodes=2", "#SBATCH --gres=gpu:4", "module load cuda", "export OMP_NUM_THREADS=3"):
        assert line in text.splitlines()
    assert "--nproc-per-node=4" in text
    assert 'ehr_pipeline.engines.node "$SLURMD_NODENAME"' in text
    assert "'/a folder/python' -m ehr_pipeline.engines.heartbeat /shared/store/x 30 &" in text
    checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)  # noqa: S607
    assert checked.stderr == ""


def test_a_node_waits_for_the_first_and_takes_its_address(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as first:
        first.bind(("127.0.0.1", 0))  # and does not listen yet
        port = first.getsockname()[1]
        found: list[list[str]] = []
        other = threading.Thread(target=lambda: found.append(node.torchrun("localhost", port, 2, "7", 1, "n2")))
        other.start()
        assert until(lambda: f"waiting for the first node at localhost:{port}" in capsys.readouterr().err)
        first.listen()
        other.join(60)
    assert f"--rdzv-endpoint=127.0.0.1:{port}" in found[0]
    assert {"--nnodes=2", "--rdzv-id=7", "--local-addr=n2"} <= set(found[0])
    assert any(word.startswith("--rdzv-conf=is_host=0,") for word in found[0])
    head = node.torchrun("unknown.example", 1, 2, "7", 0, "fd00::1")  # asks nobody
    assert "--rdzv-endpoint=[fd00::1]:1" in head
    assert any(word.startswith("--rdzv-conf=is_host=1,") for word in head)


def test_a_store_that_slurm_would_take_apart_is_refused() -> None:
    for name in ("/a folder", "/a%b", "/it's"):
        with pytest.raises(UserError, match=r"study\.store: Slurm takes the path"):
            slurm.Slurm(LauncherSettings(), Path(name)).for_buckets(Path(name), "x", 1, [0])


def test_settings_that_do_not_fit_are_refused() -> None:
    for launcher, told in (
        ({"processes": 3, "nodes": 2}, "must be a multiple of nodes"),
        ({"slurm": {"job_options": ["partition=gpu"]}}, "is not an option of sbatch"),
        ({"backend": "dask"}, "launcher.backend"),
    ):
        with pytest.raises(SettingsError, match=told):
            settings.load(shipped("demo/settings.toml"), {"launcher": launcher})


def test_the_command_prints_every_script(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["job-scripts", "--settings", str(shipped("demo/settings.toml"))]) == 0
    printed = capsys.readouterr().out
    assert re.findall(r"^==> (.*)$", printed, re.MULTILINE) == ["work on buckets", "training", "embedding"]
    assert printed.count("#!/bin/bash") == 3


def test_without_slurm_the_message_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="there is no sbatch on this machine"):
        spread(tmp_path)
    with pytest.raises(UserError, match="there is no sinfo on this machine"):
        engine_for(LauncherSettings(backend="slurm"), tmp_path).check()


def test_work_is_refused_where_versions_differ(tmp_path: Path) -> None:
    sent_by = bucket_worker.software() | {"polars": "0.1"}
    with pytest.raises(UserError, match=r"has other versions .*: polars [\d.]+ here and 0\.1 there"):
        bucket_worker.refuse_other(sent_by)
    assert isinstance(slurm.Slurm(LauncherSettings(), tmp_path).preview(), dict)


def test_a_heart_that_stands_still_cancels_the_job(tmp_path: Path) -> None:
    bin_folder, folder = tmp_path / "bin", tmp_path / "work"
    bin_folder.mkdir()
    folder.mkdir()
    (bin_folder / "scancel").write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/cancelled\n')
    (bin_folder / "scancel").chmod(0o755)
    environment = os.environ | {"PATH": f"{bin_folder}:{os.environ['PATH']}", "SLURM_JOB_ID": "77"}
    watch = ["bash", "-c", f"{sys.executable} -m ehr_pipeline.engines.heartbeat {folder} 1; true"]
    with heartbeat.beating(folder, 1):
        watching = subprocess.Popen(watch, env=environment, stdout=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            watching.wait(3)
    assert watching.wait(30) == 0
    assert (tmp_path / "cancelled").read_text() == "77\n"
    assert (folder / heartbeat.LAPSED).exists()


def test_jobs_of_every_stage_are_the_same_after_they_were_written_down(tmp_path: Path) -> None:
    study, place = settings.load(shipped("demo/settings.toml")), Path("/a b/ü")
    known = Memory(place, {"00001.arrow": {"key": "k", "files": ["events/00001.arrow"], "counts": {"repeated": 3}}})
    work: list[tuple[Any, list[Any]]] = [
        (finish_bucket.finish_bucket, [finish_bucket.FinishingJob(3, place, place, study.records)]),
        (events.map_bucket, [events.MappingJob("x", (place,), ("d",), place, place, of) for of in (known, Memory())]),
        (
            dataset.build_bucket,
            [dataset.DatasetJob("x", place, "d", (place,), (place,), place, study.patients, place, known)],
        ),
    ]
    for number, (function, jobs) in enumerate(work):
        folder = tmp_path / str(number)
        folder.mkdir()
        bucket_worker.pack(folder, function, jobs)
        assert bucket_worker.unpack(folder) == (function, jobs)
        json.loads((folder / bucket_worker.WORK).read_text())
