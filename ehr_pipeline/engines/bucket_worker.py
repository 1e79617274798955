"""Pack work on buckets into a folder that other machines can read, and run a worker that does its share of the jobs: `python -m
ehr_pipeline.engines.bucket_worker FOLDER TASK TASKS`.

    <folder>/work.json        versions of the software, the name of the function, and its jobs
    <folder>/results/N        the result of job N; if it exists, the job is done, and a restarted task skips it
    <folder>/error            the message of an error that the user can fix

Task T of N takes jobs T, T + N, T + 2N, … and skips those that have a result. Jobs and results are JSON of the types that the
function declares: nothing is unpickled, because a file on shared storage must not be able to run code.
"""

import importlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ehr_pipeline.errors import UserError
from ehr_pipeline.work.buckets import release_all
from ehr_pipeline.work.jobs import ERROR, USER_ERROR_CODE, types
from ehr_pipeline.work.progress import Progress

WORK = "work.json"
DECIDING = ("ehr-pipeline", "numpy", "polars", "pyarrow")
"""Packages that determine the bytes of the data files: their versions must be the same on all machines."""


def software() -> dict[str, str]:
    """Return the versions of the packages that determine the bytes of the data files."""
    from ehr_pipeline import __version__

    package = {"ehr-pipeline": __version__}  # works even if the package is on the path but not installed
    return package | {name: importlib.metadata.version(name) for name in DECIDING if name not in package}


def refuse_other(sent_by: dict[str, str]) -> None:
    """Raise UserError unless this machine has the same software versions as the one that sent the work."""
    here = software()
    other = [
        f"{name} {here[name]} here and {sent_by.get(name)} there" for name in here if here[name] != sent_by.get(name)
    ]
    if other:
        raise UserError(
            f"The machine {os.uname().nodename} has other versions than the one that sent the work: {', '.join(other)}. Install the"
            " same on both: the data files would differ."
        )


def pack(folder: Path, function: Callable[[Any], Any], jobs: Sequence[Any]) -> None:
    """Write work into a folder."""
    (folder / "results").mkdir()
    job, _ = types(function)
    packed = {
        "software": software(),
        "module": function.__module__,
        "function": function.__qualname__,
        "jobs": [job.dump_python(each, mode="json") for each in jobs],
    }
    (folder / WORK).write_text(json.dumps(packed), encoding="utf-8")


class Tracking:
    """Tracks which of the jobs in a folder have no result yet."""

    def __init__(self, folder: Path, count: int, what: str):
        self._folder, self._count, self._done, self._progress = folder, count, 0, Progress(what, count)

    def missing(self) -> list[int]:
        """Return the numbers of the jobs without a result. Logs progress."""
        done = {path.name for path in (self._folder / "results").iterdir()}
        missing = [number for number in range(self._count) if str(number) not in done]
        self._progress.advance(self._count - len(missing) - self._done)
        self._done = self._count - len(missing)
        return missing


def results(folder: Path, function: Callable[[Any], Any], count: int) -> list[Any]:
    """Return the results of all jobs of a function, in order."""
    _, result = types(function)
    return [result.validate_json((folder / "results" / str(number)).read_bytes()) for number in range(count)]


def unpack(folder: Path) -> tuple[Callable[[Any], Any], list[Any]]:
    """Return the function and the jobs of a folder. Raises UserError if other software versions sent them."""
    packed = json.loads((folder / WORK).read_text(encoding="utf-8"))
    refuse_other(packed["software"])  # check this first: another version may not know the function or its types
    function: Callable[[Any], Any] = getattr(importlib.import_module(packed["module"]), packed["function"])
    job, _ = types(function)
    return function, [job.validate_python(each) for each in packed["jobs"]]


def work(folder: Path, task: int, tasks: int) -> None:
    """Do one task's share of the jobs. Raises UserError."""
    function, jobs = unpack(folder)
    _, result = types(function)
    for number in range(task, len(jobs), tasks):
        target = folder / "results" / str(number)
        if not target.is_file():
            beside = folder / f".{number}-{os.uname().nodename}-{os.getpid()}"
            beside.write_bytes(result.dump_json(function(jobs[number])))
            beside.replace(target)
    release_all()


def main(folder: Path, task: int, tasks: int) -> int:
    """Do one task's share, and return the exit code. Writes the message of an error that the user can fix to the folder."""
    try:
        work(folder, task, tasks)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        (folder / ERROR).write_text(str(error), encoding="utf-8")
        return USER_ERROR_CODE
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
