"""Heavy jobs: a module with `run(job)`, started as `python -m MODULE --job job.json`, alone or under torchrun.

A job is plain JSON. What it logs goes to standard error, and to a file that the engine which started it follows, if there is one.
"""

import argparse
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ehr_pipeline.errors import UserError
from ehr_pipeline.work.die_with_parent import die_with_parent

Job = dict[str, Any]
USER_ERROR_CODE = 2
FAILED_AT = "failed at "
"""Begins the last line but the traceback's of the log of a process that failed, with the time: the launcher looks for it."""
LEVEL_ENDS = "\t"
"""Stands in a `log_file` between the level of a message, as a number, and its text."""


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
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_parent(signal.SIGKILL)  # a killed torchrun would leave its processes behind, each with its GPU
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
    first process logs, and a `done_file`, which this makes when it is done. Its log goes to standard error, too, unless
    `logs_to_stderr` is false.
    """
    if rank() == 0:
        _log_to(Path(job["log_file"]) if "log_file" in job else None, job.get("logs_to_stderr", True))
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


def _log_to(file: Path | None, stderr: bool) -> None:
    """Log to a file, and to standard error."""
    logger = logging.getLogger("ehr_pipeline")
    logger.setLevel(logging.INFO)
    if stderr:
        shown = logging.StreamHandler()
        shown.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
        logger.addHandler(shown)
    if file:
        written = logging.FileHandler(file, encoding="utf-8")
        written.setFormatter(logging.Formatter(f"%(levelno)d{LEVEL_ENDS}%(message)s"))
        logger.addHandler(written)
