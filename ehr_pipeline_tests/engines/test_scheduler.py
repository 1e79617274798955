"""The loop that schedulers share, with a throw-away one: all that a new scheduler needs is a class as this one."""

from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.engines import bucket_worker, heartbeat, job_folder, scheduler
from ehr_pipeline.engines.scheduler import Scheduler, SchedulerUnavailable, State
from ehr_pipeline.engines.settings import LauncherSettings, SlurmSettings
from ehr_pipeline.errors import UserError
from ehr_pipeline_tests.engines.work import Bucket, square

GOES_ON = State("1 running")


@pytest.fixture(autouse=True)
def settling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "SETTLING", 0.05)


class Throwaway(Scheduler):
    """Each job does its work when it is looked at for the last time, or not, and says what a test wants."""

    backend, script = "slurm", "job.txt"  # it borrows Slurm's settings

    def __init__(self, store: Path, *says: Any, works_from: int = 1, lapses: bool = False):
        super().__init__(LauncherSettings(slurm=SlurmSettings(poll_seconds=0.01)), store)
        self.tasks, self.restarts, self.continues, self.patience = 2, 1, 1, 0.0
        self.says, self.works_from, self.lapses = list(says), works_from, lapses
        self.submitted: list[Path] = []
        self.cancelled: set[str] = set()
        self.tidied: list[str] = []

    def check(self) -> None:
        pass

    def for_buckets(self, folder: Path, name: str, tasks: int, numbers: list[int]) -> str:
        return f"{name}: {numbers} of {tasks}"

    def for_job(self, folder: Path, name: str, module: str) -> str:
        return f"{name}: {module}"

    def submit(self, script: Path, name: str, what: str) -> str:
        self.submitted.append(script.parent)
        job_folder.note_sent(script.parent, self.backend, name)
        if self.lapses and len(self.submitted) == 1:
            (script.parent / heartbeat.LAPSED).touch()
        if len(self.submitted) >= self.works_from:
            for task in range(2):
                bucket_worker.main(script.parent, task, 2)
        return name

    def look(self, job: str) -> State:
        says = self.says.pop(0)
        if isinstance(says, BaseException):
            raise says
        assert isinstance(says, State)
        return says

    def cancel(self, job: str) -> bool:
        self.cancelled.add(job)
        return True

    def is_gone(self, job: str) -> bool:
        return True

    def tidy(self, job: str) -> None:
        self.tidied.append(job)

    def why(self, job: str, state: State, folder: Path) -> str:
        return f"it ended as {state.text}"


def spread(engine: Throwaway, folder: Path) -> list[int]:
    return engine.spread(square, [Bucket(folder, number) for number in range(3)], 1, "squares")


def end(ended: Any, text: str = "so") -> State:
    return State(text, ended=ended)


@pytest.mark.parametrize(
    "says",
    [
        [end("well")],
        [GOES_ON, SchedulerUnavailable("nobody answers"), end("well")],
        [end("badly")],  # all is there, so how it ended does not matter
    ],
)
def test_what_is_done_is_done_however_the_job_ended(says: list[Any], tmp_path: Path) -> None:
    engine = Throwaway(tmp_path / "store", *says)
    assert spread(engine, tmp_path) == [0, 1, 4]
    assert (len(engine.submitted), len(engine.tidied), engine.cancelled) == (1, 1, set())
    assert not engine.submitted[0].exists()


@pytest.mark.parametrize("ended", ["badly", "blameless", "well"])
def test_what_is_not_done_is_submitted_again_as_often_as_the_settings_say(ended: str, tmp_path: Path) -> None:
    engine = Throwaway(tmp_path / "store", end(ended), end("well"), works_from=2)
    assert spread(engine, tmp_path) == [0, 1, 4]
    assert len(set(engine.tidied)) == 2
    engine = Throwaway(tmp_path / "store", *[end(ended, "lost")] * 4, works_from=9)
    with pytest.raises(UserError, match=r"^squares: it ended as lost$"):
        spread(engine, tmp_path)
    assert len(engine.submitted) == (3 if ended == "blameless" else 2)
    assert len(engine.cancelled) == len(engine.submitted)


def test_a_job_that_somebody_removed_is_not_submitted_again_unless_this_process_had_stood_still(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"squares: somebody removed it\. A new run resumes from the finished work\."):
        spread(Throwaway(tmp_path / "store", end("removed", "somebody removed it"), works_from=2), tmp_path)
    lapsed = Throwaway(tmp_path / "store", end("removed"), end("well"), works_from=2, lapses=True)
    assert spread(lapsed, tmp_path) == [0, 1, 4]


def test_a_job_that_waits_in_vain_or_whose_sender_is_interrupted_is_cancelled(tmp_path: Path) -> None:
    in_vain = Throwaway(tmp_path / "store", State(stuck="there is no such machine."), works_from=2)
    with pytest.raises(UserError, match=r"^squares: there is no such machine\.$"):
        spread(in_vain, tmp_path)
    interrupted = Throwaway(tmp_path / "store", GOES_ON, KeyboardInterrupt(), works_from=2)
    with pytest.raises(KeyboardInterrupt):
        spread(interrupted, tmp_path)
    assert len(in_vain.cancelled) == len(interrupted.cancelled) == 1


def test_a_job_that_does_not_end_though_all_is_there_is_cancelled(tmp_path: Path) -> None:
    engine = Throwaway(tmp_path / "store", *[GOES_ON] * 99)
    assert spread(engine, tmp_path) == [0, 1, 4]
    assert len(engine.cancelled) == 1


def test_every_script_can_be_looked_at_before(tmp_path: Path) -> None:
    assert list(Throwaway(tmp_path).preview()) == ["work on buckets", "training", "embedding"]
