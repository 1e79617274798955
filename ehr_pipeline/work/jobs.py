"""Heavy jobs. A job is a dataclass that describes the work, and a module with a function `run(job)`. It is started by
`python -m MODULE --job job.json`, alone or under torchrun.

The log of a job goes to standard error, and to a file that the engine follows, if an engine started the job.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter

from ehr_pipeline.errors import UserError
from ehr_pipeline.work.die_with_parent import die_with_parent

USER_ERROR_CODE = 2
FAILED_AT = "failed at "
"""Start of the line after the traceback in the log of a failed process, followed by the time. The launcher searches for this
line."""
LEVEL_ENDS = "\t"
"""In the log of a job, separates the level of a message, as a number, from its text."""
DONE, ERROR, LOG = "done", "error", "progress.txt"
"""Files of a job: a mark that it is done; the message of an error that the user can fix; the log of its first process."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """Fields of every heavy job. Each kind adds further fields, and names the module that does the work."""

    __pydantic_config__ = ConfigDict(extra="forbid")
    module: ClassVar[str]
    threads: int = 0
    """CPU threads of each process; 0 shares the cores out evenly."""
    needs_gpu: bool = False
    """Whether it is an error if a process finds no GPU (`launcher.needs_gpu`); engines fill it in."""
    reports_to: Path | None = None
    """Folder for `DONE`, `ERROR` and `LOG`; engines fill it in."""
    logs_to_stderr: bool = True


AnyJob = TypeVar("AnyJob", bound=Job)
Launch = Callable[[Job], None]
"""Runs a job on some engine, and returns when it is done."""


def types(function: Callable[[Any], Any]) -> tuple[TypeAdapter[Any], TypeAdapter[Any]]:
    """Return JSON converters for the one argument of a function and for its result, from the declared types."""
    hints = get_type_hints(function)
    result = hints.pop("return")
    (job,) = hints.values()
    return TypeAdapter(job), TypeAdapter(result)


def as_json(job: Job) -> str:
    """Return a job as JSON for `run`. Raises PydanticSerializationError for a field of another type than declared."""
    return TypeAdapter(type(job)).dump_json(job, warnings="error").decode()


def from_json(run: Callable[[AnyJob], None], text: str | bytes) -> AnyJob:
    """Return the job for `run` from JSON. Raises ValidationError if a field is missing, unknown, or of another type."""
    job: AnyJob = types(run)[0].validate_json(text)
    return job


def rank() -> int:
    """Return the number of this process among the processes of the job; 0 when it is alone."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Return the number of processes of the job."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def end_process(process: "subprocess.Popen[Any]", seconds: float) -> None:
    """Terminate a process, and kill it if it has not ended after `seconds`."""
    process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main(run: Callable[[AnyJob], None]) -> None:
    """Run the job named on the command line. Of an error that the user can fix, print only the message."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--job", type=Path, required=True, help="JSON file that describes the job")
    job = from_json(run, parser.parse_args().job.read_bytes())
    if "TORCHELASTIC_RUN_ID" in os.environ:
        die_with_parent(signal.SIGKILL)  # else a killed torchrun would leave its processes behind, each with its GPU
    if job.reports_to and (job.reports_to / ERROR).is_file():
        raise SystemExit(USER_ERROR_CODE)  # restarted, but the user still has to fix the error
    code, text = perform(run, job)
    if code:
        print(text, file=sys.stderr)
        raise SystemExit(code)


def perform(run: Callable[[AnyJob], None], job: AnyJob) -> tuple[int, str]:
    """Run this process's part of a job. Returns 0 and an empty string, or an exit code and what went wrong."""
    reports = job.reports_to
    if rank() == 0:
        _log_to(reports / LOG if reports else None, job.logs_to_stderr)
    try:
        run(job)
    except UserError as error:
        if reports:
            (reports / ERROR).write_text(str(error), encoding="utf-8")
        return USER_ERROR_CODE, f"error: {error}"
    except Exception:
        return 1, f"{traceback.format_exc()}{FAILED_AT}{time.time()}"
    if rank() == 0 and reports:
        (reports / DONE).touch()
    return 0, ""


def _log_to(file: Path | None, stderr: bool) -> None:
    """Log to a file if one is given, and to standard error if `stderr` is set."""
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
