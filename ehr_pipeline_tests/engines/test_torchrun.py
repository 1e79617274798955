import os
import signal
import subprocess
import sys
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.embeddings.embedding_job import EmbeddingJob
from ehr_pipeline.encoder.training_job import TrainingJob
from ehr_pipeline.engines import ENGINES, engine_for, job_folder
from ehr_pipeline.engines.base import ThisMachine
from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store import build_lock
from ehr_pipeline.study import settings
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline.work import die_with_parent, jobs
from ehr_pipeline_tests.conftest import tiny_settings
from ehr_pipeline_tests.processes import alive, until

ROOT = Path(__file__).parents[2]
linux = pytest.mark.skipif(
    sys.platform != "linux", reason="the kernel of this system does not tell a child of its parent's death"
)
# A step that launches a job, as Dagster runs it, in a process that a test can kill.
STEP = """
import sys
from pathlib import Path
import dagster as dg
from ehr_pipeline.engines import engine_for
from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline_tests.engines.waiting_job import Waiting

engine = engine_for(LauncherSettings(processes=int(sys.argv[3]), restarts=1, threads=1), Path(sys.argv[1]))

@dg.asset
def waiting(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    engine.launch(Waiting(folder=Path(sys.argv[1]), then=sys.argv[2]))
    return dg.MaterializeResult()

result = dg.materialize([waiting], raise_on_error=False)
error = next((event.step_failure_data.error for event in result.all_events if event.is_step_failure), None)
print(error.cause.message if error and error.cause else error.message if error else "done")
"""


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def start_step(folder: Path, then: str, processes: int = 2) -> subprocess.Popen[str]:
    folder.mkdir()
    command = [sys.executable, "-c", STEP, str(folder), then, str(processes)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def ranks(folder: Path, attempt: int = 0, processes: int = 2) -> list[int]:
    """The process ids of all ranks, once all have noted them."""
    notes = [folder / f"{attempt}-{rank}" for rank in range(processes)]
    assert until(lambda: all(note.is_file() and note.read_text() for note in notes))
    return [int(note.read_text()) for note in notes]


@pytest.mark.parametrize("backend", ENGINES)
def test_the_settings_choose_the_engine(backend: str, tmp_path: Path) -> None:
    settings = LauncherSettings(backend=backend, processes=3, restarts=7)  # type: ignore[arg-type]
    engine = engine_for(settings, tmp_path)
    module, name = ENGINES[backend].split(":")
    assert (type(engine).__module__, type(engine).__name__) == (module, name)
    assert engine.settings is settings  # type: ignore[attr-defined]


def test_the_table_has_every_engine_that_the_settings_know() -> None:
    assert tuple(ENGINES) == ("inline", "processes", "ray", "slurm", "kubernetes")
    assert set(get_args(get_type_hints(LauncherSettings)["backend"])) == set(ENGINES)


SENT: list[jobs.Job] = []


class Elsewhere(ThisMachine):
    """A throw-away engine: all that a new one needs beside its settings is a class as this one and a line in the table."""

    def launch(self, job: jobs.Job) -> None:
        SENT.append(job)
        super().launch(job)


@pytest.mark.slow
def test_a_study_of_a_new_engine_trains_and_embeds_on_it(
    extract: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "elsewhere", f"{__name__}:Elsewhere")
    study = tiny_settings(extract, study={"store": str(tmp_path)})
    launcher = copy(study.launcher)
    object.__setattr__(launcher, "backend", "elsewhere")  # settings know no such engine
    pipeline = Pipeline(replace(study, launcher=launcher))
    pipeline.make(*pipeline.extracts(), until="patient_embeddings")
    assert [type(job) for job in SENT] == [TrainingJob, EmbeddingJob]


def test_what_a_job_logs_keeps_its_level(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / jobs.LOG
    file.write_text("20\tepoch 1\n30\tthe disk is slow:\nlook at it\n20\tepoch 2\twith a tab\n")
    with caplog.at_level("INFO", "ehr_pipeline"):
        job_folder.Follower(file).look()
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "epoch 1"),
        ("WARNING", "the disk is slow:"),
        ("WARNING", "look at it"),
        ("INFO", "epoch 2\twith a tab"),
    ]


@linux
def test_a_job_dies_with_the_step_that_started_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child = f"import os, time, pathlib; pathlib.Path({str(note)!r}).write_text(str(os.getpid())); time.sleep(60)"
    command = f"[sys.executable, {str(die_with_parent.__file__)!r}, sys.executable, '-c', {child!r}]"
    parent = f"import subprocess, sys; subprocess.run({command})"
    step = subprocess.Popen([sys.executable, "-c", parent])
    assert until(lambda: note.is_file() and note.read_text() != "", 10)
    pid = int(note.read_text())
    assert alive(pid)
    os.kill(step.pid, signal.SIGKILL)
    step.wait()
    assert until(lambda: not alive(pid), 10)


@linux
@pytest.mark.parametrize(
    "victim",
    ["step", *(pytest.param(victim, marks=pytest.mark.slow) for victim in ("torchrun", "cancelled"))],
)
def test_no_process_outlives_a_job_that_was_ended(tmp_path: Path, victim: str) -> None:
    step = start_step(tmp_path / "notes", "wait")
    children = ranks(tmp_path / "notes")
    torchrun = parent_of(children[0])
    pid, sign = {
        "step": (step.pid, signal.SIGKILL),
        "torchrun": (torchrun, signal.SIGKILL),
        "cancelled": (step.pid, signal.SIGINT),
    }[victim]
    os.kill(pid, sign)
    step.communicate(timeout=60)
    assert until(lambda: not any(map(alive, [torchrun, *children])))
    left = list((tmp_path / "notes").glob(".making-*"))
    assert bool(left) == (victim == "step"), "a step that is killed cannot clear up"
    build_lock.sweep(tmp_path / "notes")
    assert not list((tmp_path / "notes").glob(".making-*"))


@pytest.mark.slow
@linux
@pytest.mark.parametrize("processes", [1, 2])
def test_a_job_that_lost_a_process_starts_again_by_itself(tmp_path: Path, processes: int) -> None:
    step = start_step(tmp_path / "notes", "be killed once", processes)
    assert step.communicate(timeout=120)[0].strip().endswith("done")
    assert len(ranks(tmp_path / "notes", 1, processes)) == processes


@pytest.mark.slow
@linux
@pytest.mark.parametrize("processes", [1, 2])
def test_a_failure_shows_the_end_of_the_failing_process_log(tmp_path: Path, processes: int) -> None:
    step = start_step(tmp_path / "notes", "fail", processes)
    told = step.communicate(timeout=120)[0]
    assert "started again 1 times" in told
    assert ("The last lines of process 1:" if processes > 1 else "The last lines of processes.log:") in told
    assert "RuntimeError: the disk is full" in told
    assert "process 0" not in told
    assert len(ranks(tmp_path / "notes", 1, processes)) == processes


@linux
@pytest.mark.parametrize("victim", ["step", "cancelled"])
def test_a_single_process_does_not_outlive_its_step(tmp_path: Path, victim: str) -> None:
    step = start_step(tmp_path / "notes", "wait", processes=1)
    (child,) = ranks(tmp_path / "notes", processes=1)
    assert parent_of(child) == step.pid, "no torchrun between them"
    os.kill(step.pid, signal.SIGKILL if victim == "step" else signal.SIGINT)
    step.communicate(timeout=60)
    assert until(lambda: not alive(child))


def test_trainings_wait_for_each_other() -> None:
    from ehr_pipeline.defs.dagster_assets import build_assets

    definitions = build_assets(settings.load(shipped("demo/settings.toml")))
    trained = {definition.op.name for definition in definitions if definition.op.pool == "training"}
    assert trained == {name for name, asset in ASSETS.items() if asset.heavy}
    configured = (ROOT / "dagster.yaml").read_text()
    assert "default_limit: 1" in configured
