"""Work on buckets, packed into a folder that other machines see: `python -m ehr_pipeline.engines.batch FOLDER TASK TASKS`.

    <folder>/work.json        versions of the software, the name of the function, and its jobs
    <folder>/results/N        the result of job N; there means done, so that a task which starts again leaves it out
    <folder>/error            the message of the first error that the user can mend

Task T of N takes every N-th of the jobs that are missing. Jobs and results are JSON of the types that the function declares:
nothing is unpickled, since a file on shared storage must not be able to run code.
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
from ehr_pipeline.work.buckets import let_go_of_all
from ehr_pipeline.work.jobs import ERROR, USER_ERROR_CODE, types
from ehr_pipeline.work.progress import Progress

WORK = "work.json"
DECIDING = ("ehr-pipeline", "numpy", "polars", "pyarrow")
"""Packages that decide the bytes of the data files: they must be the same everywhere."""


def software() -> dict[str, str]:
    """The versions of what decides the bytes."""
    from ehr_pipeline import __version__

    own = {"ehr-pipeline": __version__}  # also where it is not installed, but on the path
    return own | {name: importlib.metadata.version(name) for name in DECIDING if name not in own}


def refuse_other(sent_by: dict[str, str]) -> None:
    """Raise UserError unless this machine has the software of the one that sent the work."""
    own = software()
    other = [f"{name} {own[name]} here and {sent_by.get(name)} there" for name in own if own[name] != sent_by.get(name)]
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
    """Which of the jobs in a folder have no result yet."""

    def __init__(self, folder: Path, count: int, what: str):
        self._folder, self._count, self._done, self._progress = folder, count, 0, Progress(what, count)

    def missing(self) -> list[int]:
        """The jobs without a result. Logs progress."""
        done = {path.name for path in (self._folder / "results").iterdir()}
        missing = [number for number in range(self._count) if str(number) not in done]
        self._progress.advance(self._count - len(missing) - self._done)
        self._done = self._count - len(missing)
        return missing


def results(folder: Path, function: Callable[[Any], Any], count: int) -> list[Any]:
    """The results of all jobs of a function."""
    _, result = types(function)
    return [result.validate_json((folder / "results" / str(number)).read_bytes()) for number in range(count)]


def unpack(folder: Path) -> tuple[Callable[[Any], Any], list[Any]]:
    """The function and the jobs of a folder. Raises UserError when other software sent them."""
    packed = json.loads((folder / WORK).read_text(encoding="utf-8"))
    refuse_other(packed["software"])  # before anything that other versions might not know
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
    let_go_of_all()


def main(folder: Path, task: int, tasks: int) -> int:
    """Do one task's share. Returns the exit code; an error that the user can mend leaves its message in the folder."""
    try:
        work(folder, task, tasks)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        (folder / ERROR).write_text(str(error), encoding="utf-8")
        return USER_ERROR_CODE
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
