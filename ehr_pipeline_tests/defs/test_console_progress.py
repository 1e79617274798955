import logging
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import dagster as dg
import pytest

from ehr_pipeline.defs import console_progress
from ehr_pipeline.defs.console_progress import Console
from ehr_pipeline_tests.processes import until


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(console_progress.time, "monotonic", lambda: now[0])
    return now


def event(
    shown: Console, kind: dg.DagsterEventType, step: str, skipped: bool | None = None, error: str = "InputError"
) -> None:
    record = logging.makeLogRecord({"msg": "an event", "levelno": logging.INFO})
    metadata = {} if skipped is None else {"skipped": SimpleNamespace(value=skipped)}
    record.dagster_meta = {
        "orig_message": "an event",
        "dagster_event": SimpleNamespace(
            event_type=kind,
            step_key=step,
            event_specific_data=SimpleNamespace(
                materialization=SimpleNamespace(metadata=metadata),
                error=SimpleNamespace(cause=None, cls_name=error),
            ),
        ),
    }
    shown.handle(record)


def line(shown: Console, text: str, orchestrator: bool) -> None:
    record = logging.makeLogRecord({"msg": text, "levelno": logging.INFO})
    record.orchestrator = orchestrator
    shown.handle(record)


def test_stages_start_and_end_with_a_line(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    shown, kinds = Console(3, {"vocabulary": 65.0}), dg.DagsterEventType
    event(shown, kinds.STEP_START, "vocabulary")
    clock[0] += 20
    told = shown._now()
    event(shown, kinds.ASSET_MATERIALIZATION, "vocabulary", skipped=False)
    event(shown, kinds.STEP_SUCCESS, "vocabulary")
    event(shown, kinds.STEP_START, "vocabulary_checks")
    event(shown, kinds.STEP_SUCCESS, "vocabulary_checks")
    event(shown, kinds.STEP_START, "cohort")
    event(shown, kinds.STEP_FAILURE, "cohort")
    event(shown, kinds.STEP_START, "clusters")
    event(shown, kinds.STEP_FAILURE, "clusters", error="DagsterExecutionInterruptedError")
    lines = [text.split(" ", 1)[1] for text in capsys.readouterr().err.splitlines()]
    assert lines == [
        "[1/3] vocabulary starts, about 65 s as last time",
        "[1/3] vocabulary was built in 20 s",
        "[2/3] cohort starts",
        "[2/3] cohort failed after 0 s",
        "[3/3] clusters starts",
        "[3/3] clusters was stopped after 0 s",
    ]
    assert told == "[1/3] vocabulary: working for 20 s, about 45 s left"
    assert shown._now() == "stopping: working for 0 s", "nothing comes next"


def test_a_step_that_waits_for_another_run_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = Console(1, {})

    @dg.op(pool="training")
    def clusters() -> None:
        pass

    @dg.job(logger_defs={"console": shown.definition()})
    def two_studies() -> None:
        clusters()

    as_shipped = {"telemetry": {"enabled": False}, "concurrency": {"pools": {"granularity": "op"}}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=as_shipped) as instance:
        storage = instance.event_log_storage
        storage.set_concurrency_slots("training", 1)
        storage.claim_concurrency_slot("training", "another run", "clusters")

        def leave() -> None:
            until(lambda: "waits" in shown._now())
            storage.free_concurrency_slots_for_run("another run")

        threading.Thread(target=leave).start()
        result = two_studies.execute_in_process(instance=instance, run_config={"loggers": {"console": {}}})
    assert result.success
    assert capsys.readouterr().err.count("clusters waits for another run to leave the pool 'training'") == 1
    assert "waits" not in shown._now(), "it does not wait any longer"


@pytest.mark.parametrize("verbose", [False, True])
def test_the_orchestrators_lines_are_for_the_verbose(verbose: bool, capsys: pytest.CaptureFixture[str]) -> None:
    shown = Console(1, {}, verbose)
    line(shown, "Dependencies for step cohort were not executed", orchestrator=True)
    line(shown, "epoch 1: training loss 3.2", orchestrator=False)
    told = capsys.readouterr().err
    assert ("Dependencies" in told) == verbose
    assert "epoch 1" in told


def test_a_silence_ends_with_what_is_being_done(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console_progress, "SILENCE", 0.0)
    shown = Console(1, {})
    waited: list[float] = []

    class Ended:
        def wait(self, seconds: float) -> bool:
            waited.append(seconds)
            return len(waited) > 2

    monkeypatch.setattr(shown, "_ended", Ended())
    shown._beat()
    assert capsys.readouterr().err.count("preparing the next step: working for 0 s") == 2
    waited.clear()
    event(shown, dg.DagsterEventType.STEP_START, "clusters")
    shown._beat()
    assert capsys.readouterr().err.count("[1/1] clusters: working for 0 s") == 2


def test_the_librarys_log_is_shown_once_and_only_during_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    library = logging.getLogger("ehr_pipeline")
    library.setLevel(logging.INFO)
    propagated = library.propagate
    with Console(1, {}).showing():
        library.info("half of the %s", "patients")
    library.info("afterwards")
    told = capsys.readouterr().err
    assert told.count("half of the patients") == 1
    assert "afterwards" not in told
    assert library.propagate == propagated


DEMO = {
    "raw_records": 5.8,
    "patient_dataset": 0.1,
    "encoder_checkpoint": 342.1,
    "concept_embeddings": 52.2,
    "clusters": 64.3,
}
"""Stages, and how many seconds they took in the demo."""


class Played:
    """A run of the demo, played by the seconds of `DEMO` against the thread that ends silences."""

    def __init__(self, shown: Console, now: list[float], epochs: int):
        self.shown, self.now, self.due = shown, now, list[tuple[float, str, str]]()
        begin = now[0]
        for stage, seconds in DEMO.items():
            self.due.append((begin, "STEP_START", stage))
            if stage == "encoder_checkpoint":  # a line for each epoch, and nothing for a minute or more between two
                self.due += [(begin + seconds * epoch / epochs, "", f"epoch {epoch}") for epoch in range(1, epochs)]
            begin += seconds
            self.due += [(begin, "ASSET_MATERIALIZATION", stage), (begin, "STEP_SUCCESS", stage)]
            self.due.append((begin, "STEP_START", f"{stage}{console_progress.CHECKS}"))
            begin += 11.5  # checks that read much
            self.due.append((begin, "STEP_SUCCESS", f"{stage}{console_progress.CHECKS}"))
            begin += 15.5  # until Dagster has set up its next run, on a busy machine
        self._play()

    def _play(self) -> None:
        while self.due and self.due[0][0] <= self.now[0]:
            _, kind, text = self.due.pop(0)
            if kind:
                event(self.shown, dg.DagsterEventType[kind], text, skipped=False)
            else:
                line(self.shown, text, orchestrator=False)

    def wait(self, seconds: float) -> bool:
        self.now[0] += seconds
        self._play()
        return not self.due


def test_the_log_of_a_run_like_the_demo_is_never_silent_for_over_ten_seconds(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the times of its own lines."""
    monkeypatch.setattr(console_progress.time, "strftime", lambda _: time_of(clock[0]))
    shown = Console(len(DEMO), {})
    monkeypatch.setattr(shown, "_ended", Played(shown, clock, epochs=4))
    shown._beat()
    lines = capsys.readouterr().err.splitlines()
    times = [int(text[:2]) * 3600 + int(text[3:5]) * 60 + int(text[6:8]) for text in lines]
    assert times[-1] - times[0] > sum(DEMO.values())
    assert max(after - before for before, after in pairwise(times)) <= 10
    assert any(text.endswith("epoch 3") for text in lines)
    assert any("clusters: its checks: working for" in text for text in lines)


def time_of(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}"
