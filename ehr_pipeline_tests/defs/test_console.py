import logging
from types import SimpleNamespace

import dagster as dg
import pytest

from ehr_pipeline.defs import console
from ehr_pipeline.defs.console import Console


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
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
        "[1/3] vocabulary was made in 20 s",
        "[2/3] cohort starts",
        "[2/3] cohort failed after 0 s",
        "[3/3] clusters starts",
        "[3/3] clusters was stopped after 0 s",
    ]
    assert told == "[1/3] vocabulary: working for 20 s, about 45 s left"


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
    monkeypatch.setattr(console, "SILENCE", 0.0)
    shown = Console(1, {})
    waited: list[float] = []

    class Ended:
        def wait(self, seconds: float) -> bool:
            waited.append(seconds)
            return len(waited) > 2

    monkeypatch.setattr(shown, "_ended", Ended())
    shown._beat()
    assert not capsys.readouterr().err, "nothing is being made"
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
