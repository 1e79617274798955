"""Folders in the store through which the process of a run and its workers on other machines communicate.

    <store>/.work/<name>-<random>/        one piece of work: its jobs, results and logs
    <store>/.work/<name>-<random>/client  locked (flock) by the process of the run; the lock ends with the process

A folder is removed when its work ends, whether or not it succeeds. A folder without a lock was left by a killed process.
"""

import logging
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ehr_pipeline.store.build_lock import try_lock
from ehr_pipeline.work import jobs

_log = logging.getLogger("ehr_pipeline")
CLIENT, JOB = "client", "job.json"


@contextmanager
def folder(store: Path, name: str) -> Iterator[Path]:
    """Yield a new folder for one piece of work. Only its owner can open the folder, because error messages in it may contain
    patient data."""
    root = store / ".work"
    root.mkdir(parents=True, exist_ok=True)
    made = root / f".{name}-{uuid.uuid4().hex[:8]}"
    made.mkdir(mode=0o700)
    lock = try_lock(made / CLIENT)
    visible = made.rename(root / made.name[1:])  # `left_behind` sees the folder only from here on, when it is locked
    try:
        yield visible
    finally:
        shutil.rmtree(visible, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def abandoned(store: Path) -> Iterator[Path]:
    """Yield the folders of processes that were killed; each is removed after the caller has used it.

    Yields nothing on a file system without locks.
    """
    for path in sorted((store / ".work").glob("[!.]*")):
        if not (path / CLIENT).is_file():
            continue
        lock = try_lock(path / CLIENT)
        if lock is not None:
            yield path
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def write_job(folder: Path, job: jobs.Job, *, needs_gpu: bool, logs_to_stderr: bool = True) -> "Follower":
    """Write a heavy job into the folder to which it will report. Returns a Follower of its log."""
    described = replace(job, reports_to=folder, needs_gpu=needs_gpu, logs_to_stderr=logs_to_stderr)
    (folder / JOB).write_text(jobs.as_json(described), encoding="utf-8")
    return Follower(folder / jobs.LOG)


def write_script(folder: Path, name: str, text: str) -> Path:
    """Write a script into a folder before it is sent, and log its lines. Returns its path."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    for line in text.splitlines():
        _log.info("%s: %s", name, line)
    return path


def note_sent(folder: Path, scheduler: str, job: str) -> None:
    """Record the name under which work was sent to a scheduler, so the job can be ended later."""
    with (folder / f"sent-to-{scheduler}").open("a", encoding="ascii") as stream:
        stream.write(f"{job}\n")


def sent(folder: Path, scheduler: str) -> list[str]:
    """Return the names under which the work in a folder was sent to a scheduler, in order."""
    path = folder / f"sent-to-{scheduler}"
    return path.read_text(encoding="ascii").split() if path.is_file() else []


class Follower:
    """Logs the lines that other processes append to a file, each at the level recorded there."""

    def __init__(self, path: Path):
        self._path, self._read, self._rest, self._level = path, 0, "", logging.INFO

    def look(self) -> None:
        """Log the lines that are new and complete."""
        if not self._path.is_file():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._read)
            new = stream.read()
        self._read += len(new)
        *lines, self._rest = (self._rest + new.decode("utf-8", errors="replace")).split("\n")
        for line in lines:
            level, mark, text = line.partition(jobs.LEVEL_ENDS)
            if mark and level.isdigit():
                self._level, line = int(level), text  # else the line continues the message before it
            _log.log(self._level, "%s", line)


def tail(paths: list[Path], lines: int = 15) -> str:
    """Return the last lines of logs, for a message."""
    text_lines = []
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="replace").splitlines()
        text_lines += [f"The last lines of {path.name}:", *(f"    {line}" for line in text[-lines:])]
    return "\n".join(text_lines)
