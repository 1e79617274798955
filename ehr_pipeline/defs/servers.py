"""Find out which server launched a run, and whether any process of that server is left.

A run that is about to start has no lock yet. Its process descends from the server that launched it, and inherits an
environment variable that only this server's processes have. When none of these processes is left, the run cannot start.
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
"""Tag of a run that holds its server and its run id (a retried run copies its parent's tags). The UI hides the tag."""


class NotingRunLauncher(DefaultRunLauncher):
    """Dagster's default launcher; also tags each run with the server that launches it (`run_launcher` in dagster.yaml)."""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Tag the run, then launch it. If the code server was not started by our server, the run is not tagged."""
        run, server = context.dagster_run, os.environ.get(VARIABLE)
        if server and context.workspace and run.remote_job_origin:
            origin = run.remote_job_origin.repository_origin.code_location_origin
            client = getattr(context.workspace.get_code_location(origin.location_name), "client", None)
            if _is_behind(getattr(client, "socket", None), _variable(server)):
                self._instance.add_run_tags(run.run_id, {TAG: f"{server} {run.run_id}"})
        super().launch_run(context)


def _is_behind(path: str | None, variable: bytes) -> bool:
    """Return whether the process that listens on a socket was started with this environment variable."""
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path or "")
            (pid, *_) = struct.unpack("3i", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return variable in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except (OSError, AttributeError):  # no such socket, or not Linux
        return False


def name() -> str:
    """Return a name for the server that this process starts. It encodes where the server's processes are visible, and from when."""
    return f"{_place()}/{_start_time(Path('/proc/self'))}/{uuid.uuid4().hex}"


def is_gone(note: str, run_id: str) -> bool:
    """Return whether the server that launched this run, named in `note`, has no process left. False if that cannot be known.

    It cannot be known after a reboot, for another container (whose processes are not visible from here), for another user (whose
    environment variables cannot be read), or without /proc.
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
    """Return whether a process may have this variable. If it cannot be read: True unless the process is older than the server."""
    try:
        return variable in (process / "environ").read_bytes().split(b"\0")
    except PermissionError:
        return _start_time(process) >= since
    except OSError:  # the process ended in the meantime
        return False


def _start_time(process: Path) -> int:
    """Return the start time of a process, in clock ticks since boot; -1 if it has ended."""
    try:
        return int((process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19])
    except OSError:
        return -1


def _place() -> str:
    """Return the ids of the machine's boot, the container (PID namespace) and the user; empty if there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').stat().st_ino}/{os.getuid()}"
    except OSError:
        return ""
