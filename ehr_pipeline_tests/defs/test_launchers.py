import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ehr_pipeline.defs.launchers import LAUNCHERS, die_with_parent, launcher_for
from ehr_pipeline.settings import LauncherSettings


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("backend", LAUNCHERS)
def test_the_settings_choose_the_launcher(backend: str) -> None:
    launcher = launcher_for(LauncherSettings(backend=backend, processes=3))  # type: ignore[arg-type]
    assert type(launcher) is LAUNCHERS[backend]
    assert launcher.processes == 3


@pytest.mark.skipif(
    sys.platform != "linux", reason="the kernel of this system does not tell a child of its parent's death"
)
def test_a_job_dies_with_the_step_that_started_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child = f"import os, time, pathlib; pathlib.Path({str(note)!r}).write_text(str(os.getpid())); time.sleep(60)"
    command = f"[sys.executable, {str(die_with_parent.__file__)!r}, sys.executable, '-c', {child!r}]"
    parent = f"import subprocess, sys; subprocess.run({command})"
    step = subprocess.Popen([sys.executable, "-c", parent])
    for _ in range(100):
        if note.is_file() and note.read_text():
            break
        time.sleep(0.1)
    pid = int(note.read_text())
    assert alive(pid)
    os.kill(step.pid, signal.SIGKILL)
    step.wait()
    for _ in range(100):
        if not alive(pid):
            break
        time.sleep(0.1)
    assert not alive(pid)
