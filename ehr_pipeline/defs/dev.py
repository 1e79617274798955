"""Run `dg dev` (code server, web server, daemon) with our own `webserver`: `python -m ehr_pipeline.defs.dev OPTIONS`."""

import importlib
from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster_dg_cli.cli.dev import dev_command

from ehr_pipeline.defs import liveness
from ehr_pipeline.defs.serve import log_cleanup

OURS, THEIRS = "ehr_pipeline.defs.webserver", "dagster_webserver"


def main() -> None:
    """Clean up the state that an earlier server left, then start the three servers."""
    with dg.DagsterInstance.get() as instance:
        log_cleanup(liveness.reap(instance))
    start_servers()


def start_servers() -> None:
    """Start the three servers. Raises RuntimeError if a later version of Dagster would start its own web server."""
    dev: Any = importlib.import_module("dagster._cli.dev")
    start = dev.open_ipc_subprocess
    guarded: list[bool] = []

    def ours(command: Sequence[str], **options: Any) -> Any:
        if THEIRS in command:
            guarded.append(True)
        elif not guarded:  # the web server is the first to be started
            raise RuntimeError(
                "The installed version of Dagster starts its web server in a way that bypasses the check of the Host header,"
                " so the UI was not started. Install a version that pyproject.toml allows."
            )
        return start([OURS if part == THEIRS else part for part in command], **options)

    dev.open_ipc_subprocess = ours
    dev_command.main(prog_name="dg dev")


if __name__ == "__main__":
    main()
