"""A training over two pods of the stand-in for a Kubernetes cluster, each with an address of its own."""

import importlib.util
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.engines import engine_for
from ehr_pipeline.errors import UserError
from ehr_pipeline_tests.encoder.data import learnable
from ehr_pipeline_tests.encoder.test_resume import DROPPING, same
from ehr_pipeline_tests.encoder.test_train import job
from ehr_pipeline_tests.engines.disturbing import meanwhile, pids
from ehr_pipeline_tests.engines.kubernetes_site import Site
from ehr_pipeline_tests.engines.test_kubernetes import assert_nothing_left, launcher, site
from ehr_pipeline_tests.engines.work import Counting
from ehr_pipeline_tests.processes import alive, until

__all__ = ["site"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("kubernetes") is None, reason="the extra 'k8s' is not installed"),
]


def count(folder: Path, restarts: int = 1, **described: Any) -> None:
    """A job of one process in each of two pods, which counts to ten."""
    settings = replace(launcher(folder, restarts=restarts, processes=2), nodes=2)
    engine_for(settings, folder / "store").launch(Counting(folder=folder, **described))


def test_two_pods_train_the_weights_that_one_trains(tmp_path: Path, site: Site) -> None:
    data = learnable(tmp_path / "data")
    outs = []
    for nodes in (1, 2):
        described = job(tmp_path / str(nodes), data, replace(DROPPING, max_epochs=1))
        own = replace(launcher(tmp_path, processes=2), nodes=nodes)
        engine_for(own, tmp_path / "store").launch(described)
        outs.append(described.out)
    same(*outs)
    assert_nothing_left(tmp_path, site)


def test_a_killed_pod_takes_the_other_along_and_both_go_on(tmp_path: Path, site: Site) -> None:
    site.room = 1

    def disturb() -> None:
        assert until(lambda: len(site.pods()) == 1)
        site.room = 2  # a pod waits for the other, which had no room
        assert until(lambda: len(list(tmp_path.glob("step-*"))) == 5)
        (running,) = [pod for pod in site.pods() if pod.index == 1]
        running.end(signal.SIGKILL)
        assert until(lambda: len(list(tmp_path.glob("pid-*"))) == 4)
        (tmp_path / "go").touch()

    meanwhile(lambda: count(tmp_path, waits=True), disturb)
    assert {path.read_text() for path in tmp_path.glob("step-*")} == {"3"}
    assert len(list(tmp_path.glob("step-*"))) == 10
    assert_nothing_left(tmp_path, site)


def test_who_removes_the_job_ends_both_pods(tmp_path: Path, site: Site) -> None:
    def disturb() -> None:
        assert until(lambda: len(list(tmp_path.glob("step-*"))) == 5)
        site.delete(site.names[0])

    with pytest.raises(UserError, match="somebody removed the Job"):
        meanwhile(lambda: count(tmp_path, waits=True), disturb)
    assert until(lambda: not any(map(alive, pids(list(tmp_path.glob("pid-*"))))))
    assert_nothing_left(tmp_path, site)


def test_the_error_of_a_job_is_told(tmp_path: Path, site: Site) -> None:
    with pytest.raises(UserError, match=r"^encoder.learning_rate is too high$"):
        count(tmp_path, fails="user")
    assert_nothing_left(tmp_path, site)
