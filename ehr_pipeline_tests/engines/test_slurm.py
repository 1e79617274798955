"""Work through a real Slurm on this machine: results, and every kind of death."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.engines import engine_for
from ehr_pipeline.engines.settings import LauncherSettings, SlurmSettings
from ehr_pipeline.errors import UserError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline_tests.conftest import tiny_settings
from ehr_pipeline_tests.engines import slurm_site
from ehr_pipeline_tests.engines.disturbing import assert_same_files, meanwhile, pids, start_client
from ehr_pipeline_tests.engines.slurm_site import Site
from ehr_pipeline_tests.engines.work import Bucket, Counting, square
from ehr_pipeline_tests.processes import alive, until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CLIENT = """
import logging, sys
from pathlib import Path
from ehr_pipeline_tests.engines.test_slurm import slurm
from ehr_pipeline_tests.engines.work import Bucket, square
logging.basicConfig(level=logging.INFO)
folder = Path(sys.argv[1])
buckets = [Bucket(folder, number, waits=True) for number in range(2)]
slurm(folder / "store", lapse_seconds=float(sys.argv[2])).spread(square, buckets, 1, "squares")
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with slurm_site.running() as found:
        yield found


@pytest.fixture(autouse=True)
def reached(site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with site.reached(monkeypatch, caplog):
        yield


def launcher(restarts: int = 1, processes: int = 1, **slurm: Any) -> LauncherSettings:
    own = SlurmSettings(**({"poll_seconds": 0.2, "lapse_seconds": 60.0} | slurm))
    return LauncherSettings(backend="slurm", restarts=restarts, processes=processes, threads=1, slurm=own)


def slurm(store: Path, **changes: Any) -> Any:
    return engine_for(launcher(**changes), store)


def spread(folder: Path, buckets: list[Bucket], **changes: Any) -> list[int]:
    found: list[int] = slurm(folder / "store", **changes).spread(square, buckets, 1, "squares")
    return found


def test_buckets_are_the_tasks_of_an_array_job(site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    buckets = [Bucket(tmp_path, number) for number in range(5)]
    assert spread(tmp_path, buckets, array_tasks=3) == [0, 1, 4, 9, 16]
    assert [len(bucket.begun) for bucket in buckets] == [1] * 5
    assert "job.sh: #SBATCH --array=0-2" in caplog.messages
    sent = next(number for number, line in enumerate(caplog.messages) if "sent to Slurm as job" in line)
    shown = [number for number, line in enumerate(caplog.messages) if line.startswith("job.sh: ")]
    assert shown
    assert max(shown) < sent
    assert set(site.states().values()) == {"COMPLETED"}
    assert list((tmp_path / "store" / ".work").iterdir()) == []


def test_an_error_that_the_user_can_mend_ends_the_whole_array(tmp_path: Path, site: Site) -> None:
    buckets = [Bucket(tmp_path, 0, fails="user"), Bucket(tmp_path, 1, waits=True)]
    with pytest.raises(UserError, match=r"^bucket 0 has no column 'code'$"):
        spread(tmp_path, buckets)
    assert not any(map(alive, pids(buckets[1].begun)))
    assert list((tmp_path / "store" / ".work").iterdir()) == []


def test_a_failure_shows_the_end_of_the_log(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)ended as FAILED, and was sent again 1 times.*the disk is full"):
        spread(tmp_path, [Bucket(tmp_path, 0, fails="disk"), Bucket(tmp_path, 1)])
    assert len(Bucket(tmp_path, 0).begun) == 2
    assert len(Bucket(tmp_path, 1).begun) == 1


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    buckets = [Bucket(tmp_path, number, waits=number == 1) for number in range(3)]

    def disturb() -> None:
        assert until(lambda: len(buckets[1].begun) == 1 and len(buckets[2].begun) == 1)
        os.kill(pids(buckets[1].begun)[0], signal.SIGKILL)
        (tmp_path / "go").touch()

    assert meanwhile(lambda: spread(tmp_path, buckets), disturb) == [0, 1, 4]
    assert [len(bucket.begun) for bucket in buckets] == [1, 2, 1]


def test_preempted_work_goes_on_when_it_is_its_turn_again(tmp_path: Path, site: Site) -> None:
    # Task 0 has the buckets 0, which is done before the preemption, and 2.
    buckets = [Bucket(tmp_path, number, waits=number > 0) for number in range(3)]

    def disturb() -> None:
        assert until(lambda: len(buckets[1].begun) == 1 and len(buckets[2].begun) == 1)
        first = pids(buckets[1].begun + buckets[2].begun)
        urgent = site.run(
            "sbatch", "--parsable", "--partition=urgent", "--cpus-per-task=2", "--output=/dev/null", "--wrap=sleep 1"
        ).strip()
        assert until(lambda: site.states().get(f"{urgent}_N/A") in ("RUNNING", "COMPLETED"))
        assert until(lambda: not any(map(alive, first)))
        (tmp_path / "go").touch()

    assert meanwhile(lambda: spread(tmp_path, buckets, array_tasks=2, restarts=0), disturb) == [0, 1, 4]
    assert [len(bucket.begun) for bucket in buckets] == [1, 2, 2]


def test_a_lost_node_costs_no_result(tmp_path: Path, site: Site) -> None:
    buckets = [Bucket(tmp_path, number, waits=True) for number in range(2)]
    node = site.run("sinfo", "--noheader", "--Format=NodeList").strip()

    def disturb() -> None:
        assert until(lambda: all(len(bucket.begun) == 1 for bucket in buckets))
        site.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
        assert until(lambda: not any(alive(pid) for bucket in buckets for pid in pids(bucket.begun)))
        if "down" in site.run("sinfo", "--noheader", "--Format=StateCompact"):  # it may have come back by itself
            site.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
        (tmp_path / "go").touch()

    assert meanwhile(lambda: spread(tmp_path, buckets, restarts=0), disturb) == [0, 1]


def test_work_goes_on_while_the_scheduler_is_dead(tmp_path: Path, site: Site, caplog: pytest.LogCaptureFixture) -> None:
    buckets = [Bucket(tmp_path, number, waits=True) for number in range(2)]

    def disturb() -> None:
        assert until(lambda: all(len(bucket.begun) == 1 for bucket in buckets))
        site.kill_scheduler()
        try:
            assert until(lambda: any("Slurm does not answer" in line for line in caplog.messages))
            (tmp_path / "go").touch()
        finally:
            site.start_scheduler()

    assert meanwhile(lambda: spread(tmp_path, buckets, restarts=0), disturb) == [0, 1]
    assert [len(bucket.begun) for bucket in buckets] == [1, 1]


def test_work_ends_some_time_after_its_sender_was_killed(tmp_path: Path, site: Site) -> None:
    client, working = start_client(CLIENT, tmp_path, lapse=3)
    client.kill()
    client.wait()
    assert until(lambda: not any(map(alive, working)), 30)
    assert until(lambda: set(site.states().values()) <= {"CANCELLED", "COMPLETED"})


def test_the_next_run_ends_what_a_killed_one_left(tmp_path: Path, site: Site) -> None:
    client, working = start_client(CLIENT, tmp_path, lapse=300)
    client.kill()
    client.wait()
    for note in tmp_path.glob("?-*"):
        note.unlink()
    (tmp_path / "go").touch()
    left = [path.name for path in (tmp_path / "store" / ".work").iterdir()]
    assert spread(tmp_path, [Bucket(tmp_path, 5)]) == [25]
    assert until(lambda: not any(map(alive, working)), 30)
    assert not any((tmp_path / "store" / ".work" / name).exists() for name in left)


def test_an_interrupted_run_cancels_its_job(tmp_path: Path, site: Site) -> None:
    client, working = start_client(CLIENT, tmp_path, lapse=300)
    client.send_signal(signal.SIGINT)
    client.wait(60)
    assert not any(map(alive, working))
    assert set(site.states().values()) <= {"CANCELLED"}
    assert list((tmp_path / "store" / ".work").iterdir()) == []


def test_who_cancels_the_job_in_slurm_ends_the_run(tmp_path: Path, site: Site) -> None:
    bucket = Bucket(tmp_path, 0, waits=True)

    def disturb() -> None:
        assert until(lambda: len(bucket.begun) == 1)
        site.cancel_all()

    with pytest.raises(UserError, match="was cancelled in Slurm"):
        meanwhile(lambda: spread(tmp_path, [bucket]), disturb)


def test_an_interrupted_chain_publishes_nothing(extract: Path, tmp_path: Path, site: Site) -> None:
    node = site.run("sinfo", "--noheader", "--Format=NodeList").strip()
    site.run("scontrol", "update", f"NodeName={node}", "State=DRAIN", "Reason=test")  # so that the job waits
    pipeline = Pipeline(tiny_settings(extract, study={"store": str(tmp_path / "store")}))
    pipeline.engine = slurm(tmp_path / "store")

    def disturb() -> None:
        assert until(lambda: "PENDING" in site.states().values())
        site.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
        site.cancel_all()

    with pytest.raises(UserError, match="was cancelled in Slurm"):
        meanwhile(lambda: pipeline.raw_records(EXTRACT), disturb)
    assert not pipeline.store.has("raw_records", EXTRACT)
    assert list(tmp_path.glob("store/**/manifest.json")) == []
    assert [path for path in tmp_path.glob("store/**/.making-*") if path.is_dir()] == []


def test_what_the_site_does_not_have_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"Slurm rejected the job.*invalid partition"):
        spread(tmp_path, [Bucket(tmp_path, 0)], bucket_options=("--partition=absent",))
    with pytest.raises(UserError, match=r"waits for what Slurm cannot provide \(PartitionConfig\)"):
        spread(tmp_path, [Bucket(tmp_path, 0)], bucket_options=("--cpus-per-task=64",))


def test_a_job_runs_under_torchrun_and_tells_its_progress(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    slurm(tmp_path / "store", processes=2).launch(Counting(folder=tmp_path))
    assert {path.read_text() for path in tmp_path.glob("step-*")} == {"3"}
    assert len(list(tmp_path.glob("step-*"))) == 10
    assert any(line.startswith("counting: 50 %") for line in caplog.messages)


@pytest.mark.parametrize("victim", ["rank", "job"])
def test_a_killed_job_goes_on_from_its_last_step(tmp_path: Path, site: Site, victim: str) -> None:
    def disturb() -> None:
        assert until(lambda: (tmp_path / "step-04").is_file())
        if victim == "rank":
            os.kill(pids(list(tmp_path.glob("pid-1-*")))[0], signal.SIGKILL)
        else:
            (number,) = site.run("squeue", "--noheader", "--Format=JobID").split()
            site.run("scontrol", "requeue", number)
        assert until(lambda: len(list(tmp_path.glob("pid-*"))) == 4)
        (tmp_path / "go").touch()

    meanwhile(lambda: slurm(tmp_path / "store", processes=2).launch(Counting(folder=tmp_path, waits=True)), disturb)
    assert len(list(tmp_path.glob("step-*"))) == 10


def test_the_error_of_a_job_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^encoder.learning_rate is too high$"):
        slurm(tmp_path / "store").launch(Counting(folder=tmp_path, fails="user"))


def test_a_site_edits_its_template(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours = (ROOT / "ehr_pipeline/engines/job.sh.j2").read_text()
    own = tmp_path / "site.sh.j2"
    own.write_text(ours.replace("umask 077", f"umask 077\necho of the site > {tmp_path}/site"))
    assert spread(tmp_path, [Bucket(tmp_path, 3)], template=str(own)) == [9]
    assert (tmp_path / "site").read_text() == "of the site\n"
    own.write_text("#!/bin/bash\n{{ partiton }}\n")
    with pytest.raises(UserError, match=r"launcher.slurm.template\): 'partiton' is undefined"):
        spread(tmp_path, [Bucket(tmp_path, 3)], template=str(own))


def test_the_chain_makes_the_same_files(tiny: Pipeline, extract: Path, tmp_path: Path) -> None:
    changes = {
        "study": {"store": str(tmp_path / "store")},
        "launcher": {"backend": "slurm", "slurm": {"poll_seconds": 0.2, "array_tasks": 2}},
    }
    assert_same_files(Pipeline(tiny_settings(extract, **changes)), tiny)
