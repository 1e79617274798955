"""What stops a run that began well: its last screen says what happened, where, and what to do."""

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from ehr_pipeline import cli
from ehr_pipeline.records import build
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline_tests.cli.test_mistakes import last_screen
from ehr_pipeline_tests.conftest import at_home, write_settings

pytestmark = pytest.mark.slow
Change = Callable[[Path, pytest.MonkeyPatch], dict[str, dict[str, Any]]]
"""Arranges for the failure in a folder with a copy of the study's landing folder and store; returns settings that differ."""
ANEW = {"records": {"buckets": 8}}
"""With these, the extract is read again."""


def settings_of(**changes: dict[str, Any]) -> Change:
    return lambda folder, patch: changes


def no_folder(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    (folder / "file").touch()
    return {"study": {"store": str(folder / "file" / "store")}}


def full_disk(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    def full(*_: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    patch.setattr(schemas, "write", full)
    return ANEW


def replaced(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    shuffle = build.shuffle_events

    def late(*arguments: Any) -> int:
        (folder / "landing" / EXTRACT / "patients.txt").touch()
        return shuffle(*arguments)

    patch.setattr(build, "shuffle_events", late)
    return ANEW


def dies(*_: object) -> NoReturn:
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("this is no worker, but the process of the tests")


def killed(folder: Path, patch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    patch.setattr(build, "finish_bucket", dies)
    return {"records": {"buckets": 8, "workers": 5}}


FAILURES: dict[str, tuple[Change, tuple[str, ...]]] = {
    "a folder that cannot be written to": (no_folder, ("file/store", "Not a directory", "study.store")),
    "a full disk": (full_disk, ("raw_records", "No space left on device", "Make room", "study.store")),
    "an extract that is replaced while it is read": (replaced, ("patients.txt: the file changed", "run again")),
    "a worker that is killed": (killed, ("raw_records", "memory ran out", "Set fewer workers")),
    "a blocking check": (
        settings_of(events={"coverage_floor": 0.99}),
        ("check mapping_coverage failed", "events.coverage_floor = 99.0%", "Check that events.mrconso is complete"),
    ),
    "a vocabulary that is too small": (
        settings_of(vocabulary={"min_size": 100_000}),
        ("check vocabulary_size failed", "vocabulary.min_size = 100,000", "Lower vocabulary.min_appearances"),
    ),
    "a training that diverges": (
        settings_of(
            launcher={"backend": "processes", "processes": 1}, encoder={"learning_rate": 1e30, "warmup_steps": 0}
        ),
        ("encoder_checkpoint", "The loss is not finite at update", "Lower encoder.learning_rate"),
    ),
    "no GPU": (
        settings_of(
            launcher={"backend": "processes", "processes": 1, "require_gpu": True}, encoder={"learning_rate": 0.002}
        ),
        ("encoder_checkpoint", "needs a GPU", "ask for none"),
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_the_last_screen_shows_cause_and_cure(
    tiny: Pipeline, extract: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: str
) -> None:
    change, words = FAILURES[failure]
    at_home(monkeypatch, tmp_path)
    shutil.copytree(tiny.store.root, tmp_path / "store")
    shutil.copytree(extract / "landing", tmp_path / "landing")
    changes = dict(change(tmp_path, monkeypatch))
    changes["records"] = {"landing": str(tmp_path / "landing")} | changes.get("records", {})
    path = write_settings(tmp_path / "study.toml", extract, tmp_path / "store", **changes)
    code, screen = last_screen(["run", "--settings", str(path)])
    assert code in (cli.FAILED, cli.USER_ERROR)
    assert [word for word in words if word not in screen] == [], screen
