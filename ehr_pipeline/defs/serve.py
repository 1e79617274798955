"""Start the Dagster UI from the command line, and keep its state in order while it runs.

Nothing here imports the data libraries, which takes a second, because Dagster starts only after this process has loaded.
"""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from ehr_pipeline.defs import liveness, servers, webserver
from ehr_pipeline.errors import UserError
from ehr_pipeline.study.dagster_home import ensure_home
from ehr_pipeline.work import die_with_parent

_log = logging.getLogger("ehr_pipeline")
LOOK_SECONDS = 30.0  # between two checks by which the server finds runs whose process is gone


def serve(port: int, host: str, allow: Sequence[str] = ()) -> int:
    """Start the Dagster UI and its daemon in the foreground; ends with Ctrl-C. Returns its exit code.

    It answers to the host names of `webserver.allowed`, which include `allow`. Raises UserError for an invalid name.
    """
    webserver.allowed(host, allow)
    home = ensure_home()
    with liveness.only_server(Path(os.environ["EHR_STATE_DIR"])):
        return _serve(home, port, host, allow)


def log_cleanup(done: list[str]) -> None:
    """Log sentences on what was cleaned up."""
    for line in done:
        _log.warning("%s", line)


def _serve(home: Path, port: int, host: str, allow: Sequence[str] = ()) -> int:
    workspace = home / "workspace.yaml"
    if not workspace.is_file():
        raise UserError(
            f"DAGSTER_HOME is {home}, but this folder has no workspace.yaml, which Dagster needs to find the assets. Copy"
            " workspace.yaml of ehr_pipeline there."
        )
    # A script may start Python with interrupts ignored; Dagster would then never end.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # If this process is killed, its servers must end too, or they would run without the lock that prevents a second daemon.
    command = [sys.executable, str(die_with_parent.__file__), sys.executable, "-m", "ehr_pipeline.defs.dev"]
    command += ["-w", str(workspace), "-h", host, "-p", str(port)]
    environment = {servers.VARIABLE: servers.name(), webserver.VARIABLE: ",".join(allow)}
    process = subprocess.Popen(command, cwd=home, env=os.environ | environment)
    try:
        while True:
            try:
                return process.wait(LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                look_for_ghosts()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        return process.wait()


def look_for_ghosts() -> None:
    """Clean up after runs that could not report their end. If Dagster's state cannot be read or written, log a warning."""
    try:
        with dg.DagsterInstance.get() as instance:
            log_cleanup(liveness.end_ghosts(instance))
    except Exception as error:  # a full disk, an unreachable database: the server keeps running, and so does this check
        _log.warning(
            "could not clean up orphaned runs in Dagster's database (%s); will try again. Check its disk or connection",
            type(error).__name__,
        )
