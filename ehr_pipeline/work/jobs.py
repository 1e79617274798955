"""Heavy jobs: a module with `run(job)`, started as `python -m MODULE --job job.json`, alone or under torchrun.

A job is plain JSON. What it logs goes to standard error, and to the Dagster run that started it, if there is one.
"""

import argparse
import ctypes
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ehr_pipeline.errors import UserError

Job = dict[str, Any]
USER_ERROR_CODE = 2
FAILED_AT = "failed at "
"""Begins the last line but the traceback's of the log of a process that failed, with the time: the launcher looks for it."""
PR_SET_PDEATHSIG = 1


def rank() -> int:
    """Number of this process among those of the job; 0 when it is alone."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Processes of the job."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def main(run: Callable[[Job], None]) -> None:
    """Run a job that the command line names. An error that the user can mend ends with its message alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", type=Path, required=True, help="JSON file that describes the job")
    job = json.loads(parser.parse_args().job.read_text(encoding="utf-8"))
    die_with_parent()
    told = Path(job["error_file"]) if "error_file" in job else None
    if told is not None and told.is_file():
        raise SystemExit(USER_ERROR_CODE)  # started again, but what the user has to mend is still there
    code, text = perform(run, job)
    if code:
        print(text, file=sys.stderr)
        raise SystemExit(code)


def perform(run: Callable[[Job], None], job: Job) -> tuple[int, str]:
    """Run a job in this process, which is one of its processes. Returns 0, or an exit code with what went wrong.

    A job may name an `error_file`, which gets the message of an error that the user can mend, a `log_file`, which gets what the
    first process logs, and a `done_file`, which this makes when it is done.
    """
    logger = logging.getLogger("ehr_pipeline")
    with ExitStack() as stack:
        if rank() == 0:
            logger.setLevel(logging.INFO)
            logger.addHandler(_handler(stack))
            if "log_file" in job:
                logger.addHandler(logging.FileHandler(job["log_file"], encoding="utf-8"))
        try:
            run(job)
        except UserError as error:
            if "error_file" in job:
                Path(job["error_file"]).write_text(str(error), encoding="utf-8")
            return USER_ERROR_CODE, f"error: {error}"
        except Exception:
            return 1, f"{traceback.format_exc()}{FAILED_AT}{time.time()}"
        if rank() == 0 and "done_file" in job:
            Path(job["done_file"]).touch()
    return 0, ""


def die_with_parent() -> None:
    """Have the kernel end this process when the one that started it dies, as torchrun may by SIGKILL. Linux only.

    Without it a killed torchrun leaves its processes behind, each with its GPU.
    """
    if sys.platform == "linux" and "TORCHELASTIC_RUN_ID" in os.environ:
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            raise SystemExit(1)


def _handler(stack: ExitStack) -> logging.Handler:
    """To Dagster where it started the job, else to standard error."""
    if "DAGSTER_PIPES_CONTEXT" in os.environ:
        import dagster_pipes

        pipes = stack.enter_context(dagster_pipes.open_dagster_pipes())

        class ToDagster(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                pipes.log.log(record.levelno, self.format(record))

        return ToDagster()
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    return handler
