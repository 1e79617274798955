"""Work through a stand-in for a Kubernetes cluster (see kubernetes_site.py): results, and every kind of death."""

import importlib.util
import logging
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.engines import engine_for, kubernetes
from ehr_pipeline.engines.settings import KubernetesSettings, LauncherSettings
from ehr_pipeline.errors import UserError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.work.threads import cores
from ehr_pipeline_tests.conftest import tiny_settings
from ehr_pipeline_tests.engines import kubernetes_site
from ehr_pipeline_tests.engines.disturbing import assert_same_files, meanwhile, pids, start_client
from ehr_pipeline_tests.engines.kubernetes_objects import IMAGE
from ehr_pipeline_tests.engines.kubernetes_site import NAMESPACE, Site
from ehr_pipeline_tests.engines.work import Bucket, Counting, square
from ehr_pipeline_tests.processes import alive, until

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("kubernetes") is None, reason="the extra 'k8s' is not installed"),
]
CLIENT = """
import logging, sys
from pathlib import Path
from ehr_pipeline_tests.engines.test_kubernetes import engine
from ehr_pipeline_tests.engines.work import Bucket, square
logging.basicConfig(level=logging.INFO)
folder = Path(sys.argv[1])
buckets = [Bucket(folder, number, waits=True) for number in range(2)]
engine(folder, lapse_seconds=float(sys.argv[2])).spread(square, buckets, 1, "squares")
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[Site]:
    with kubernetes_site.running(tmp_path / "cluster") as found:
        monkeypatch.setenv("KUBECONFIG", str(found.kubeconfig))
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        caplog.set_level(logging.INFO, "ehr_pipeline")
        yield found


def launcher(folder: Path, restarts: int = 1, processes: int = 1, **own: Any) -> LauncherSettings:
    fast = {"image": IMAGE, "volumes": {str(folder): "claim"}, "poll_seconds": 0.1, "lapse_seconds": 60.0}
    chosen = KubernetesSettings(**(fast | own))
    return LauncherSettings(backend="kubernetes", restarts=restarts, processes=processes, threads=1, kubernetes=chosen)


def engine(folder: Path, **changes: Any) -> Any:
    return engine_for(launcher(folder, **changes), folder / "store")


def spread(folder: Path, buckets: list[Bucket], **changes: Any) -> list[int]:
    found: list[int] = engine(folder, **changes).spread(square, buckets, 1, "squares")
    return found


def assert_nothing_left(folder: Path, site: Site) -> None:
    """No Job, no Service, no pod, no folder of work."""
    assert until(lambda: site.jobs == {} and site.pods() == [], 30)
    assert site.services == {}
    assert list((folder / "store" / ".work").iterdir()) == []


def test_buckets_are_the_indices_of_a_job(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    buckets = [Bucket(tmp_path, number) for number in range(5)]
    assert spread(tmp_path, buckets, tasks=3) == [0, 1, 4, 9, 16]
    assert [len(bucket.begun) for bucket in buckets] == [1] * 5
    assert "job.yaml:   completions: 3" in caplog.messages
    sent = next(
        number for number, line in enumerate(caplog.messages) if "sent to Kubernetes as Job ehr-buckets-" in line
    )
    shown = [number for number, line in enumerate(caplog.messages) if line.startswith("job.yaml: ")]
    assert max(shown) < sent
    assert_nothing_left(tmp_path, site)
    assert site.names == site.deleted


def test_no_bucket_is_no_job(site: Site, tmp_path: Path) -> None:
    assert spread(tmp_path, []) == []
    assert site.asked == []


def test_the_check_makes_nothing(site: Site, tmp_path: Path) -> None:
    engine(tmp_path).check()
    jobs = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    listed = f"GET /api/v1/namespaces/{NAMESPACE}/pods"
    assert site.asked == [f"POST {jobs}"] * 3 + [listed, f"GET {jobs}/ehr-buckets-random"]
    assert site.names == []
    site.pods_may_be_listed = False
    with pytest.raises(
        UserError, match=r"\(403\): pods is forbidden The rights that are needed stand in deploy/role.yaml"
    ):
        engine(tmp_path).check()


def test_an_error_that_the_user_can_mend_ends_the_whole_job(tmp_path: Path, site: Site) -> None:
    buckets = [Bucket(tmp_path, 0, fails="user"), Bucket(tmp_path, 1, waits=True)]
    with pytest.raises(UserError, match=r"^bucket 0 has no column 'code'$"):
        spread(tmp_path, buckets)
    assert len(buckets[0].begun) == 1
    assert not any(map(alive, pids(buckets[1].begun)))
    assert_nothing_left(tmp_path, site)


def test_a_failure_shows_the_end_of_the_log(tmp_path: Path, site: Site) -> None:
    told = r"(?s)BackoffLimitExceeded: Job has .*The last lines of pod ehr-.* \(Error, exit code 1\).*the disk is full"
    with pytest.raises(UserError, match=told):
        spread(tmp_path, [Bucket(tmp_path, 0, fails="disk"), Bucket(tmp_path, 1)])
    assert len(Bucket(tmp_path, 0).begun) == 2
    assert len(Bucket(tmp_path, 1).begun) == 1
    assert_nothing_left(tmp_path, site)


def test_logs_that_may_not_be_read_hide_no_failure(tmp_path: Path, site: Site) -> None:
    site.logs_may_be_read = False
    with pytest.raises(UserError, match=r"(?s)BackoffLimitExceeded.*cannot be read: pods/log is forbidden"):
        spread(tmp_path, [Bucket(tmp_path, 0, fails="disk")], restarts=0)


def test_a_killed_pod_is_replaced(tmp_path: Path, site: Site) -> None:
    buckets = [Bucket(tmp_path, number, waits=number == 1) for number in range(3)]

    def disturb() -> None:
        assert until(lambda: len(buckets[1].begun) == 1 and len(buckets[2].begun) == 1)
        (running,) = [pod for pod in site.pods() if pod.index == 1]
        running.end(signal.SIGKILL)
        (tmp_path / "go").touch()

    assert meanwhile(lambda: spread(tmp_path, buckets), disturb) == [0, 1, 4]
    assert [len(bucket.begun) for bucket in buckets] == [1, 2, 1]


def test_a_drained_node_is_no_restart(tmp_path: Path, site: Site) -> None:
    # Pod 0 has the buckets 0, which is done before, and 2.
    buckets = [Bucket(tmp_path, number, waits=number > 0) for number in range(3)]

    def disturb() -> None:
        assert until(lambda: len(buckets[1].begun) == 1 and len(buckets[2].begun) == 1)
        first = pids(buckets[1].begun + buckets[2].begun)
        for pod in site.pods():
            pod.disrupted = True
            pod.end(signal.SIGTERM)
        assert until(lambda: not any(map(alive, first)))
        (tmp_path / "go").touch()

    assert meanwhile(lambda: spread(tmp_path, buckets, tasks=2, restarts=0), disturb) == [0, 1, 4]
    assert [len(bucket.begun) for bucket in buckets] == [1, 2, 2]


def test_work_goes_on_while_the_cluster_does_not_answer(
    tmp_path: Path, site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    buckets = [Bucket(tmp_path, number, waits=True) for number in range(2)]

    def disturb() -> None:
        assert until(lambda: all(len(bucket.begun) == 1 for bucket in buckets))
        site.down = True
        assert until(lambda: any("the cluster does not answer" in line for line in caplog.messages))
        (tmp_path / "go").touch()
        site.down = False

    assert meanwhile(lambda: spread(tmp_path, buckets, restarts=0), disturb) == [0, 1]
    assert [len(bucket.begun) for bucket in buckets] == [1, 1]


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path, site: Site) -> None:
    site.down = True
    with pytest.raises(UserError, match="Kubernetes does not answer, so the Job was not sent: 503 the server is"):
        spread(tmp_path, [Bucket(tmp_path, 0)])
    with pytest.raises(UserError, match="the cluster does not answer"):
        engine(tmp_path).check()
    site.kubeconfig.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", site.kubeconfig.read_text()))
    with pytest.raises(UserError, match="the cluster does not answer"):
        engine(tmp_path).check()


def test_work_ends_some_time_after_its_sender_was_killed(tmp_path: Path, site: Site) -> None:
    client, working = start_client(CLIENT, tmp_path, lapse=3)
    client.kill()
    client.wait()
    assert until(lambda: not any(map(alive, working)), 30)
    (job,) = site.jobs.values()
    assert until(lambda: job.condition is not None)
    assert job.condition
    assert job.condition["reason"] == "PodFailurePolicy"  # so nothing is started again
    assert until(lambda: site.pods() == [])


def test_the_next_run_ends_what_a_killed_one_left(tmp_path: Path, site: Site) -> None:
    client, working = start_client(CLIENT, tmp_path, lapse=300)
    client.kill()
    client.wait()
    for note in tmp_path.glob("?-*"):
        note.unlink()
    (left,) = site.names
    assert spread(tmp_path, [Bucket(tmp_path, 5)]) == [25]
    assert site.deleted[0] == left
    assert until(lambda: not any(map(alive, working)), 30)
    assert_nothing_left(tmp_path, site)


def test_an_interrupted_run_removes_its_job(tmp_path: Path, site: Site) -> None:
    client, working = start_client(CLIENT, tmp_path, lapse=300)
    client.send_signal(signal.SIGINT)
    client.wait(60)
    assert not any(map(alive, working))
    assert_nothing_left(tmp_path, site)


def test_work_whose_sender_stood_still_is_sent_again(tmp_path: Path, site: Site) -> None:
    client, working = start_client(CLIENT, tmp_path, lapse=2)
    client.send_signal(signal.SIGSTOP)
    try:
        assert until(lambda: not any(map(alive, working)), 30)
        (tmp_path / "go").touch()
    finally:
        client.send_signal(signal.SIGCONT)
    assert client.wait(60) == 0, (tmp_path / "client.txt").read_text()
    first, second = site.names
    assert second == f"{first}-1"
    assert_nothing_left(tmp_path, site)


def test_who_removes_the_job_ends_the_run(tmp_path: Path, site: Site) -> None:
    bucket = Bucket(tmp_path, 0, waits=True)

    def disturb() -> None:
        assert until(lambda: len(bucket.begun) == 1)
        site.delete(site.names[0])

    with pytest.raises(UserError, match="somebody removed the Job ehr-buckets-"):
        meanwhile(lambda: spread(tmp_path, [bucket]), disturb)
    assert_nothing_left(tmp_path, site)


def test_an_image_that_is_not_there_ends_the_run(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(kubernetes, "STUCK", 0.5)
    with pytest.raises(UserError, match=r"cannot start \(ErrImagePull: no such image\)"):
        spread(tmp_path, [Bucket(tmp_path, 0)], image="registry.example/other:1")
    assert any(line.endswith(": 1 pending (ErrImagePull: no such image)") for line in caplog.messages)
    assert_nothing_left(tmp_path, site)


def test_what_work_waits_for_is_told(tmp_path: Path, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.room, site.quota = 0, 'pods "x" is forbidden: exceeded quota'

    def disturb() -> None:
        told = 'no pod yet (FailedCreate: pods "x" is forbidden: exceeded quota)'
        assert until(lambda: any(told in line for line in caplog.messages))
        site.quota = ""
        assert until(lambda: any("1 pending (Unschedulable: 0/1 nodes" in line for line in caplog.messages))
        site.room = 2

    assert meanwhile(lambda: spread(tmp_path, [Bucket(tmp_path, 4)]), disturb) == [16]


def test_a_manifest_that_the_cluster_does_not_take_is_told(tmp_path: Path, site: Site) -> None:
    pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    ours = (ROOT / "ehr_pipeline/engines/job.yaml.j2").read_text()
    own = tmp_path / "site.yaml.j2"
    own.write_text(ours.replace("restartPolicy: Never", "restartPolicy: Never\n      nodeSelecter: {disk: fast}"))
    for call in (
        engine(tmp_path, template=str(own)).check,
        lambda: spread(tmp_path, [Bucket(tmp_path, 1)], template=str(own)),
    ):
        with pytest.raises(UserError, match=r"rejected the Job in the namespace research \(422\).*nodeSelecter"):
            call()
    assert_nothing_left(tmp_path, site)


def test_a_job_of_two_processes(tmp_path: Path, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    engine(tmp_path, processes=2).launch(Counting(folder=tmp_path))
    assert {path.read_text() for path in tmp_path.glob("step-*")} == {"3"}
    assert any(line.startswith("counting: ") for line in caplog.messages)
    assert_nothing_left(tmp_path, site)


def test_a_killed_pod_of_a_job_starts_again_from_where_it_was(tmp_path: Path, site: Site) -> None:
    def disturb() -> None:
        assert until(lambda: len(list(tmp_path.glob("step-*"))) == 5)
        (running,) = site.pods()
        running.end(signal.SIGKILL)
        assert until(lambda: len(list(tmp_path.glob("pid-*"))) == 2)
        (tmp_path / "go").touch()

    meanwhile(lambda: engine(tmp_path).launch(Counting(folder=tmp_path, waits=True)), disturb)
    assert len(list(tmp_path.glob("step-*"))) == 10


def test_the_error_of_a_job_is_told(tmp_path: Path, site: Site) -> None:
    with pytest.raises(UserError, match=r"^encoder.learning_rate is too high$"):
        engine(tmp_path).launch(Counting(folder=tmp_path, fails="user"))
    assert len(list(tmp_path.glob("pid-*"))) == 1
    assert_nothing_left(tmp_path, site)


def test_an_interrupted_chain_publishes_nothing(tiny: Pipeline, extract: Path, tmp_path: Path, site: Site) -> None:
    site.room = 0  # so that the pods wait
    settings = launcher(tmp_path, tasks=2)
    changes = {"study": {"store": str(tmp_path / "store")}}
    pipeline = Pipeline(tiny_settings(extract, **changes))
    pipeline.engine = engine_for(settings, tmp_path / "store")

    def disturb() -> None:
        assert until(lambda: len(site.names) == 1)
        site.delete(site.names[0])

    with pytest.raises(UserError, match="somebody removed the Job"):
        meanwhile(lambda: pipeline.raw_records(EXTRACT), disturb)
    assert not pipeline.store.has("raw_records", EXTRACT)
    assert list(tmp_path.glob("store/**/manifest.json")) == []
    assert [path for path in tmp_path.glob("store/**/.making-*") if path.is_dir()] == []
    assert_nothing_left(tmp_path, site)


def test_the_chain_makes_the_same_files(tiny: Pipeline, extract: Path, tmp_path: Path, site: Site) -> None:
    own = {"image": IMAGE, "volumes": {str(tmp_path): "claim"}, "poll_seconds": 0.2, "tasks": 2}
    own["job_cpus"] = float(cores())  # as many threads as inline: sums of floats depend on it
    changes = {"study": {"store": str(tmp_path / "store")}, "launcher": {"backend": "kubernetes", "kubernetes": own}}
    assert_same_files(Pipeline(tiny_settings(extract, **changes)), tiny)
    assert len(site.names) == 5
    assert_nothing_left(tmp_path, site)


def test_a_kubeconfig_that_cannot_be_read_is_told(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"how the cluster is reached cannot be read from .*kubeconfig: .*elsewhere"):
        engine(tmp_path, context="elsewhere").check()
    monkeypatch.setenv("KUBECONFIG", os.devnull + "/none")
    with pytest.raises(UserError, match="how the cluster is reached cannot be read"):
        engine(tmp_path).check()
