"""A training over two nodes of a real Slurm, which are two machines by name, address and daemon, on this one."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.engines import engine_for
from ehr_pipeline.errors import UserError
from ehr_pipeline_tests.encoder.data import learnable
from ehr_pipeline_tests.encoder.test_resume import DROPPING, same
from ehr_pipeline_tests.encoder.test_train import job
from ehr_pipeline_tests.engines import slurm_site
from ehr_pipeline_tests.engines.disturbing import meanwhile, pids
from ehr_pipeline_tests.engines.slurm_site import Site
from ehr_pipeline_tests.engines.test_slurm import launcher
from ehr_pipeline_tests.engines.work import Counting
from ehr_pipeline_tests.processes import alive, until

pytestmark = pytest.mark.slow

NODES = ("ehr-n1", "ehr-n2")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with slurm_site.running(cpus=1, nodes=NODES) as found:
        yield found


@pytest.fixture(autouse=True)
def reached(site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with site.reached(monkeypatch, caplog):
        yield


def count(folder: Path, restarts: int = 1, **described: Any) -> None:
    """A job of one process on each node, which counts to ten."""
    settings = replace(launcher(restarts=restarts, processes=2), nodes=2)
    engine_for(settings, folder / "store").launch(Counting(folder=folder, **described))


def under(folder: Path, rank: int) -> int:
    """The first process with this rank."""
    return pids(list(folder.glob(f"pid-{rank}-*")))[0]


def name_of(pid: int) -> str:
    """The node that a process runs on, as Slurm told it."""
    lines = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return next(line.partition("=")[2] for line in lines if line.startswith("SLURMD_NODENAME="))


def test_two_nodes_train_the_weights_that_one_trains(tmp_path: Path) -> None:
    data = learnable(tmp_path / "data")
    outs = []
    for nodes in (1, 2):
        described = job(tmp_path / str(nodes), data, replace(DROPPING, max_epochs=1))
        own = replace(launcher(processes=2), nodes=nodes)
        engine_for(own, tmp_path / "store").launch(described)
        outs.append(described.out)
    same(*outs)


def lost_rank(folder: Path, site: Site) -> None:
    os.kill(under(folder, 1), signal.SIGKILL)


def lost_node(folder: Path, site: Site) -> None:
    """Slurm queues the job again by itself."""
    node, working = name_of(under(folder, 1)), [under(folder, rank) for rank in (0, 1)]
    site.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    assert until(lambda: not any(map(alive, working)))
    if "down" in site.run("sinfo", "--noheader", f"--nodes={node}", "--Format=StateCompact"):
        # The node may come back by itself in between, and is then no longer down.
        with suppress(subprocess.CalledProcessError):
            site.run("scontrol", "update", f"NodeName={node}", "State=RESUME")


@pytest.mark.parametrize("lose", [lost_rank, lost_node])
def test_what_dies_on_one_node_starts_again_on_both(
    tmp_path: Path, site: Site, lose: Callable[[Path, Site], None], caplog: pytest.LogCaptureFixture
) -> None:
    def disturb() -> None:
        assert until(lambda: (tmp_path / "step-04").is_file())
        assert {name_of(under(tmp_path, rank)) for rank in (0, 1)} == set(NODES)
        lose(tmp_path, site)
        assert until(lambda: len(list(tmp_path.glob("pid-*"))) == 4)
        (tmp_path / "go").touch()

    meanwhile(lambda: count(tmp_path, waits=True), disturb)
    assert {path.read_text() for path in tmp_path.glob("step-*")} == {"3"}
    assert len(list(tmp_path.glob("step-*"))) == 10
    assert any(line.startswith("counting: ") for line in caplog.messages)
    assert list((tmp_path / "store" / ".work").iterdir()) == []


def test_cancelling_ends_the_processes_of_both_nodes(tmp_path: Path, site: Site) -> None:
    def disturb() -> None:
        assert until(lambda: (tmp_path / "step-04").is_file())
        site.cancel_all()

    with pytest.raises(UserError, match="was cancelled in Slurm"):
        meanwhile(lambda: count(tmp_path, waits=True), disturb)
    assert not any(map(alive, pids(list(tmp_path.glob("pid-*")))))
