"""Work through a real Ray cluster of two nodes on this machine: results, and every kind of death."""

import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.engines import engine_for
from ehr_pipeline.engines.settings import LauncherSettings, RaySettings
from ehr_pipeline.errors import UserError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline_tests.conftest import tiny_settings
from ehr_pipeline_tests.engines.disturbing import assert_same_files, meanwhile, pids
from ehr_pipeline_tests.engines.work import Bucket, Counting, square
from ehr_pipeline_tests.processes import alive, until

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra 'ray' is not installed"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # of ray's own sockets
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
CLIENT = """
import sys
from pathlib import Path
from ehr_pipeline_tests.engines.test_ray import ray_at
from ehr_pipeline_tests.engines.work import Bucket, Counting, square
address, folder, what = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
engine = ray_at(address, folder / "store", processes=2)
if what == "buckets":
    engine.spread(square, [Bucket(folder, number, waits=True) for number in range(2)], 1, "squares")
else:
    engine.launch(Counting(folder=folder, waits=True))
"""


@dataclass
class Cluster:
    """A running cluster: two nodes of one CPU each."""

    process: "subprocess.Popen[str]"
    address: str

    def tell(self, what: str) -> None:
        """Have a node removed, as if its machine had lost power, or added."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{what}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == "done"


@contextmanager
def running(**changes: str) -> Iterator[Cluster]:
    """A cluster of its own, and its environment."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"} | changes
    command = [sys.executable, "-m", "ehr_pipeline_tests.engines.ray_site", "1", "1"]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdin
    assert process.stdout
    try:
        yield Cluster(process, json.loads(process.stdout.readline())["address"])
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running() as found:
        yield found


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ehr_pipeline")


def ray_at(address: str, store: Path, restarts: int = 1, processes: int = 1, **ray: Any) -> Any:
    own = RaySettings(address=address, **ray)
    return engine_for(
        LauncherSettings(backend="ray", restarts=restarts, processes=processes, threads=1, ray=own), store
    )


def test_buckets_are_tasks(cluster: Cluster, tmp_path: Path) -> None:
    buckets = [Bucket(tmp_path, number) for number in range(11)]
    found = ray_at(cluster.address, tmp_path / "store").spread(square, buckets, 1, "squares")
    assert found == [number**2 for number in range(11)]
    assert [len(bucket.begun) for bucket in buckets] == [1] * 11
    working = {pid for bucket in buckets for pid in pids(bucket.begun)}
    assert os.getpid() not in working
    assert until(lambda: not any(map(alive, working)))


def test_an_error_that_the_user_can_mend_ends_all_work(cluster: Cluster, tmp_path: Path) -> None:
    buckets = [Bucket(tmp_path, 0, fails="user"), Bucket(tmp_path, 1, waits=True)]
    with pytest.raises(UserError, match=r"^bucket 0 has no column 'code'$"):
        ray_at(cluster.address, tmp_path / "store").spread(square, buckets, 1, "squares")
    assert until(lambda: not any(map(alive, pids(buckets[1].begun))))


def test_a_failure_is_not_tried_again(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)work on a bucket failed.*the disk is full"):
        ray_at(cluster.address, tmp_path / "store").spread(square, [Bucket(tmp_path, 0, fails="disk")], 1, "squares")
    assert len(Bucket(tmp_path, 0).begun) == 1


def test_a_killed_worker_is_replaced(cluster: Cluster, tmp_path: Path) -> None:
    buckets = [Bucket(tmp_path, number, waits=number == 1) for number in range(3)]

    def disturb() -> None:
        assert until(lambda: len(buckets[1].begun) == 1)
        os.kill(pids(buckets[1].begun)[0], signal.SIGKILL)
        (tmp_path / "go").touch()

    engine = ray_at(cluster.address, tmp_path / "store")
    assert meanwhile(lambda: engine.spread(square, buckets, 1, "squares"), disturb) == [0, 1, 4]
    assert [len(bucket.begun) for bucket in buckets] == [1, 2, 1]


def test_a_worker_that_dies_again_and_again_is_given_up(cluster: Cluster, tmp_path: Path) -> None:
    bucket = Bucket(tmp_path, 0, waits=True)

    def disturb() -> None:
        for times in (1, 2):
            assert until(lambda times=times: len(bucket.begun) == times)
            for pid in filter(alive, pids(bucket.begun)):
                os.kill(pid, signal.SIGKILL)

    engine = ray_at(cluster.address, tmp_path / "store")
    with pytest.raises(UserError, match="a worker was killed, and was started again 1 times"):
        meanwhile(lambda: engine.spread(square, [bucket], 1, "squares"), disturb)


def test_what_no_machine_can_hold_is_refused_at_once(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"can never run 1 x \(64 CPU\) at once.*1 CPU"):
        ray_at(cluster.address, tmp_path, bucket_cpus=64).spread(square, [Bucket(tmp_path, 0)], 1, "squares")
    with pytest.raises(UserError, match=r"can never run 3 x \(1 CPU\) at once"):
        ray_at(cluster.address, tmp_path, processes=3).launch(Counting(folder=tmp_path))
    with pytest.raises(UserError, match="1 GPU"):
        ray_at(cluster.address, tmp_path, job_gpus=1).launch(Counting(folder=tmp_path))


def test_an_address_without_a_cluster_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no Ray cluster answers at '127.0.0.1:1'"):
        ray_at("127.0.0.1:1", tmp_path).spread(square, [Bucket(tmp_path, 0)], 1, "squares")


def test_a_job_runs_on_both_nodes_and_tells_its_progress(
    cluster: Cluster, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ray_at(cluster.address, tmp_path / "store", processes=2).launch(Counting(folder=tmp_path))
    assert {path.read_text() for path in tmp_path.glob("step-*")} == {"3"}
    assert len(list(tmp_path.glob("step-*"))) == 10
    assert any(line.startswith("counting: 50 %") for line in caplog.messages)
    assert list((tmp_path / "store" / ".work").iterdir()) == []


def test_the_error_of_a_job_is_told(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^encoder.learning_rate is too high$"):
        ray_at(cluster.address, tmp_path / "store").launch(Counting(folder=tmp_path, fails="user"))


def test_a_job_that_fails_shows_why(cluster: Cluster, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)was started again 0 times.*RuntimeError: the disk is full"):
        ray_at(cluster.address, tmp_path / "store", restarts=0).launch(Counting(folder=tmp_path, fails="disk"))


def test_a_job_that_lost_a_process_goes_on_from_its_last_step(cluster: Cluster, tmp_path: Path) -> None:
    def disturb() -> None:
        assert until(lambda: (tmp_path / "step-04").is_file())
        os.kill(pids(list(tmp_path.glob("pid-1-*")))[0], signal.SIGKILL)
        assert until(lambda: len(list(tmp_path.glob("pid-*"))) == 4)
        (tmp_path / "go").touch()

    engine = ray_at(cluster.address, tmp_path / "store", processes=2)
    meanwhile(lambda: engine.launch(Counting(folder=tmp_path, waits=True)), disturb)
    assert len(list(tmp_path.glob("step-*"))) == 10


@pytest.mark.parametrize("what", ["buckets", "job"])
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT], ids=["killed", "interrupted"])
def test_the_end_of_the_driver_ends_its_work(cluster: Cluster, tmp_path: Path, what: str, sign: signal.Signals) -> None:
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, cluster.address, str(tmp_path), what], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    pattern = "?-*" if what == "buckets" else "pid-*"
    ready = (lambda: len(list(tmp_path.glob("?-*"))) == 2) if what == "buckets" else (tmp_path / "step-04").is_file
    assert until(ready)
    working = pids(list(tmp_path.glob(pattern)))
    client.send_signal(sign)
    client.wait(60)
    assert until(lambda: not any(map(alive, working)))
    if what == "job" and sign == signal.SIGKILL:  # a new driver goes on where the last one was
        (tmp_path / "go").touch()
        ray_at(cluster.address, tmp_path / "store", processes=2).launch(Counting(folder=tmp_path, waits=True))
        assert len(list(tmp_path.glob("step-*"))) == 10


def test_a_lost_machine_costs_no_result(cluster: Cluster, tmp_path: Path) -> None:
    buckets = [Bucket(tmp_path, number, waits=True) for number in range(2)]

    def disturb() -> None:
        assert until(lambda: all(len(bucket.begun) == 1 for bucket in buckets))
        cluster.tell("remove")
        assert until(lambda: not all(alive(pid) for bucket in buckets for pid in pids(bucket.begun)))
        (tmp_path / "go").touch()

    engine = ray_at(cluster.address, tmp_path / "store")
    try:
        assert meanwhile(lambda: engine.spread(square, buckets, 1, "squares"), disturb) == [0, 1]
        assert sorted(len(bucket.begun) for bucket in buckets) == [1, 2]
    finally:
        cluster.tell("add")


def test_a_training_that_no_machine_can_hold_any_more_is_told(cluster: Cluster, tmp_path: Path) -> None:
    def disturb() -> None:
        assert until((tmp_path / "step-04").is_file)
        cluster.tell("remove")

    engine = ray_at(cluster.address, tmp_path / "store", processes=2)
    try:
        with pytest.raises(UserError, match=r"can never run 2 x \(1 CPU\) at once"):
            meanwhile(lambda: engine.launch(Counting(folder=tmp_path, waits=True)), disturb)
        assert until(lambda: not any(map(alive, pids(list(tmp_path.glob("pid-*"))))))
    finally:
        cluster.tell("add")


def test_the_chain_makes_the_same_files(tiny: Pipeline, extract: Path, cluster: Cluster, tmp_path: Path) -> None:
    changes = {
        "study": {"store": str(tmp_path / "store")},
        "launcher": {"backend": "ray", "ray": {"address": cluster.address}},
    }
    pipeline = Pipeline(tiny_settings(extract, **changes))
    assert_same_files(pipeline, tiny)


def test_the_death_of_the_head_ends_its_work(tmp_path: Path) -> None:
    """Ray waits a minute for its head to come back; here three seconds."""
    patience = {"RAY_gcs_rpc_server_reconnect_timeout_s": "3"}
    with running(**patience) as cluster:
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, cluster.address, str(tmp_path), "job"],
            cwd=ROOT,
            env=os.environ | patience,
            stderr=subprocess.DEVNULL,
        )
        assert until((tmp_path / "step-04").is_file)
        working = pids(list(tmp_path.glob("pid-*")))
        cluster.tell("behead")
        assert client.wait(60) != 0
        assert until(lambda: not any(map(alive, working)))
