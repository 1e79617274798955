"""Work on buckets, packed into a folder that other machines see: `python -m ehr_pipeline.engines.batch FOLDER TASK TASKS`.

    <folder>/work.pickle      versions of the software, the function, and its jobs
    <folder>/results/N        the result of job N, pickled; there means done, so that a task which starts again leaves it out
    <folder>/error            the message of the first error that the user can mend

Task T of N takes every N-th of the jobs that are missing.
"""

import importlib.metadata
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ehr_pipeline.buckets import let_go_of_all
from ehr_pipeline.errors import UserError
from ehr_pipeline.jobs import USER_ERROR_CODE

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
    with (folder / "work.pickle").open("wb") as stream:
        for part in (software(), (function, list(jobs))):
            pickle.dump(part, stream)


def missing(folder: Path, count: int) -> list[int]:
    """The jobs without a result."""
    done = {path.name for path in (folder / "results").iterdir()}
    return [number for number in range(count) if str(number) not in done]


def results(folder: Path, count: int) -> list[Any]:
    """The results of all jobs. What was pickled there is our own: the folder is closed to others."""
    return [pickle.loads((folder / "results" / str(number)).read_bytes()) for number in range(count)]  # noqa: S301


def work(folder: Path, task: int, tasks: int) -> None:
    """Do one task's share of the jobs. Raises UserError."""
    with (folder / "work.pickle").open("rb") as stream:
        refuse_other(pickle.load(stream))  # noqa: S301 (our own; before anything that other versions might not know)
        function, jobs = pickle.load(stream)  # noqa: S301
    for number in range(task, len(jobs), tasks):
        target = folder / "results" / str(number)
        if not target.is_file():
            beside = folder / f".{number}-{os.uname().nodename}-{os.getpid()}"
            beside.write_bytes(pickle.dumps(function(jobs[number])))
            beside.replace(target)
    let_go_of_all()


def main(folder: Path, task: int, tasks: int) -> int:
    """Do one task's share. Returns the exit code; an error that the user can mend leaves its message in the folder."""
    try:
        work(folder, task, tasks)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        (folder / "error").write_text(str(error), encoding="utf-8")
        return USER_ERROR_CODE
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
