"""Ctrl-C in a terminal, which sends the signal to every process that the command has started there."""

import os
import pty
import re
import shutil
import sys
import time
from pathlib import Path

import pytest

from ehr_pipeline import cli
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline_tests.conftest import ROOT, at_home, write_settings

pytestmark = pytest.mark.slow
CTRL_C = b"\x03"
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""What moves the cursor and sets colours."""


def in_a_terminal(command: list[str], when: str) -> tuple[int, str]:
    """Run a command in a terminal of its own, press Ctrl-C once a text is shown; return the exit code and all that was shown."""
    process, terminal = pty.fork()
    if process == 0:
        os.execv(command[0], command)
    shown, pressed = b"", False
    while True:
        try:
            part = os.read(terminal, 1 << 16)
        except OSError:  # Linux ends a terminal so
            break
        if not part:
            break
        shown += part
        if not pressed and when.encode() in shown:
            time.sleep(0.5)  # Dagster's helper processes are slow to start; they, too, have to be met
            os.write(terminal, CTRL_C)
            pressed = True
    _, status = os.waitpid(process, 0)
    assert pressed, shown.decode()
    return os.waitstatus_to_exitcode(status), CONTROL.sub("", shown.decode())


def test_a_training_ends_with_one_line_that_says_how_to_go_on(
    tiny: Pipeline, extract: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home(monkeypatch, tmp_path)
    store = Store(tmp_path / "store")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    shutil.copytree(tiny.store.root, store.root)
    busy = {"max_epochs": 100_000, "learning_rate": 0.001}
    file = write_settings(tmp_path / "settings.toml", extract, store.root, encoder=busy)
    command = [sys.executable, "-m", "ehr_pipeline.cli", "run", "--settings", str(file)]

    code, shown = in_a_terminal(command, "epoch 2:")

    assert code == cli.INTERRUPTED, shown
    assert "Traceback" not in shown
    assert "KeyboardInterrupt" not in shown
    after = [line.strip() for line in shown.split("^C")[-1].splitlines() if line.strip()]
    assert (
        after[-1]
        == f"stopped. Everything published before is unchanged. To continue: ehr-pipeline run --settings {file}"
    )
    assert any("encoder_checkpoint was stopped after" in line for line in after)
    assert all("encoder_checkpoint" in line or " stopping: " in line for line in after[:-1]), after
