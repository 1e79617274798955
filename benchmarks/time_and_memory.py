"""Run a command and watch its time and the memory of all its processes. Linux only."""

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SAMPLE_SECONDS = 0.5


def watched(
    command: list[str],
    quiet: bool = False,
    env: dict[str, str] | None = None,
    until: Callable[[], bool] = lambda: False,
) -> tuple[float, int]:
    """Run a command. Returns seconds, and the largest sum of the proportional set sizes of its processes, in bytes.

    Pages that several processes share count once. The command is ended when `until` says so. Raises SystemExit when it fails.
    Compiled modules are kept, as on the machines of users, whatever the environment says.
    """
    started, peak = time.monotonic(), 0
    set_up = os.environ | {"PYTHONDONTWRITEBYTECODE": ""} | (env or {})
    process = subprocess.Popen(command, env=set_up, stdout=subprocess.DEVNULL if quiet else None)
    while process.poll() is None:
        peak = max(peak, memory(_tree(process.pid)))
        with suppress(
            subprocess.TimeoutExpired
        ):  # not a sleep: it would round the time up to a whole number of samples
            process.wait(SAMPLE_SECONDS)
        if process.poll() is None and until():
            process.kill()
            process.wait()
            return time.monotonic() - started, peak
    taken = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"{command[0]} failed with exit status {process.returncode}")
    return taken, peak


def children_of(parent: int) -> list[int]:
    """The processes that a process started and that still run."""
    return _children().get(parent, [])


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended meanwhile
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    return children


def _tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children = _children()
    found, new = [root], [root]
    while new:
        new = [child for parent in new for child in children.get(parent, [])]
        found += new
    return found


def memory(processes: list[int]) -> int:
    """Bytes that the processes hold together."""
    total = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total
