"""Which server launched a run, and whether any process of that server is left.

A run that is about to start has no lock yet. Its process is a descendant of the server that launched it, and inherits a variable
that only this server's processes have: when none of them is left, nobody will ever start the run.
"""

import os
import socket
import struct
import uuid
from pathlib import Path

from dagster._core.launcher.base import LaunchRunContext
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher

VARIABLE = "EHR_PIPELINE_SERVER"
TAG = ".dagster/ehr_pipeline_server"
"""Of a run: who launched it, and which run, since a run that is tried again copies its parent's tags. The UI shows it to nobody."""


class NotingRunLauncher(DefaultRunLauncher):
    """Dagster's own launcher, which notes on each run the server that launches it (`run_launcher` in dagster.yaml)."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Note, then launch. A code server that somebody else started has processes that are not ours: then nothing is noted."""
        run, server = context.dagster_run, os.environ.get(VARIABLE)
        if server and context.workspace and run.remote_job_origin:
            origin = run.remote_job_origin.repository_origin.code_location_origin
            client = getattr(context.workspace.get_code_location(origin.location_name), "client", None)
            if _is_behind(getattr(client, "socket", None), _variable(server)):
                self._instance.add_run_tags(run.run_id, {TAG: f"{server} {run.run_id}"})
        super().launch_run(context)


def _is_behind(path: str | None, variable: bytes) -> bool:
    """Whether the process that listens at a socket was started with a variable."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path or "")
            (pid, *_) = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (OSError, AttributeError):  # no such socket, or no Linux
        return False


def name() -> str:
    """A name for a server that this process starts now: where its processes can be seen, and since when there can be any."""
    return f"{_place()}/{_begun(Path('/proc/self'))}/{uuid.uuid4().hex}"


def is_gone(note: str, run_id: str) -> bool:
    """Whether no process of the server is left that a note says launched this run. False where that cannot be known.

    It cannot be known of another boot, of another container (its processes are not seen from here), of another user (what they
    were started with is not ours to read), and without /proc.
    """
    server, _, noted = note.partition(" ")
    place = _place()
    if noted != run_id or not place or not server.startswith(f"{place}/"):
        return False
    wanted, since = _variable(server), int(server.split("/")[-2])
    return not any(_may_have(process, wanted, since) for process in Path("/proc").glob("[0-9]*"))


def _variable(server: str) -> bytes:
    return f"{VARIABLE}={server}".encode()


def _may_have(process: Path, variable: bytes, since: int) -> bool:
    """Whether a process was started with a variable. One that hides its own may have it, unless it is older than the server."""
    try:
        return variable in (process / "environ").read_bytes().split(b"\0")
    except PermissionError:
        return _begun(process) >= since
    except OSError:  # it ended meanwhile
        return False


def _begun(process: Path) -> int:
    """When a process began, in ticks since the boot; -1 when it has ended."""
    try:
        return int((process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])
    except OSError:
        return -1


def _place() -> str:
    """The boot of the machine, the container, and the user; empty where there is no /proc to tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}/{os.getuid()}"
    except OSError:
        return ""
