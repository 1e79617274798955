"""A training on two processes, as a Dagster step launches it, of which one is killed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ehr_pipeline.work import jobs
from ehr_pipeline_tests.encoder.data import learnable
from ehr_pipeline_tests.encoder.test_resume import DROPPING, same, started

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")]
ROOT = Path(__file__).parents[2]
# Long enough for the kill to fall between the first checkpoint and the end; with dropout, so a wrong seed would show.
SETTINGS = replace(DROPPING, max_epochs=10, patience=10, checkpoint_seconds=0.2)
STEP = """
import logging, sys
from pathlib import Path
import dagster as dg
from ehr_pipeline.engines import engine_for
from ehr_pipeline.encoder.train import run
from ehr_pipeline.engines.settings import LauncherSettings
from ehr_pipeline.work import jobs

logging.basicConfig(level="INFO", format="%(message)s")

@dg.asset
def training(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    job = jobs.from_json(run, open(sys.argv[1]).read())
    engine = engine_for(LauncherSettings(processes=2, restarts=1), Path(sys.argv[1]).parent)
    engine.launch(job)
    return dg.MaterializeResult()

dg.materialize([training])
"""


def step(folder: Path, data: dict[str, Path]) -> tuple[subprocess.Popen[str], Path]:
    """Start a step that trains. Also returns the folder that it will fill."""
    described = started(folder, data, SETTINGS)
    (folder / "job.json").write_text(jobs.as_json(described))
    command = [sys.executable, "-c", STEP, str(folder / "job.json")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    run = subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True, env=environment)
    return run, described.out


def ranks_under(root: int) -> dict[int, int]:
    """The process id of each rank among the descendants of a process."""
    parents, ranks = {}, {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            names = dict(entry.split("=", 1) for entry in (path / "environ").read_text().split("\0") if "=" in entry)
        except OSError:  # it ended meanwhile, or is somebody else's
            continue
        if "TORCHELASTIC_RUN_ID" in names:
            ranks[int(path.name)] = int(names["RANK"])

    def below(pid: int) -> bool:
        return pid == root or (pid in parents and below(parents[pid]))

    return {rank: pid for pid, rank in ranks.items() if below(pid)}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return learnable(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def undisturbed(data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training on two processes that nothing interrupted."""
    run, out = step(tmp_path_factory.mktemp("undisturbed") / "run", data)
    told = run.communicate(timeout=300)[0]
    assert run.returncode == 0, told
    assert "resuming from update" not in told
    return out


def test_a_training_that_lost_a_process_goes_on_by_itself_to_the_same_weights(
    undisturbed: Path, data: dict[str, Path], tmp_path: Path
) -> None:
    """The first process is killed, which writes the checkpoints; `benchmarks/kill_ranks.py` kills either of them."""
    run, out = step(tmp_path / "run", data)
    ranks: dict[int, int] = {}
    while run.poll() is None and not list((tmp_path / "run" / "training").glob("update-*")):
        ranks = ranks_under(run.pid)
        time.sleep(0.01)
    os.kill(ranks[0], signal.SIGKILL)
    told = run.communicate(timeout=300)[0]
    assert run.returncode == 0, told
    assert "resuming from update" in told
    same(undisturbed, out)
