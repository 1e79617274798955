"""Locks and work folders for building: one process at a time, no leftovers after a kill.

    .making-<fingerprint>.lock         held (flock) by the process that makes this artifact; released when it ends
    .making-<fingerprint>-<random>/    the folder that the process fills
    .making-<fingerprint>.part         the next content of `current`

Folders have random names, because workers of a killed process may still write into its folder for a moment. The holder
of a lock may remove everything with the same fingerprint in its name. Other temporary work in the root of a store, and
output of commands next to its target, are made the same way, with a random number in place of a fingerprint (`scratch`).
"""

import errno
import fcntl
import logging
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ehr_pipeline.errors import UserError

_log = logging.getLogger("ehr_pipeline")
_OURS = re.compile(r"\.making-(?P<fingerprint>[0-9a-f]+)(?P<rest>\.lock|\.part|-[0-9a-f]+)")


def part_of(fingerprint: str) -> str:
    """Return the name of the file that becomes `current`."""
    return f".making-{fingerprint}.part"


def new(folder: Path, fingerprint: str) -> Path:
    """Make an empty folder to build an artifact in."""
    work = folder / f".making-{fingerprint}-{uuid.uuid4().hex[:8]}"
    work.mkdir()
    return work


def sweep(folder: Path, but: str = "") -> None:
    """Remove leftovers of killed processes from a folder, except work in progress and everything with the fingerprint `but`."""
    for other in sorted(_fingerprints(folder) - {but}) if folder.is_dir() else ():
        with suppress(PermissionError):  # it belongs to another user, whose next sweep removes it
            lock = _lock(folder, other, wait=False)
            if lock is not None:
                _clear(folder, other)
                _unlock(folder, other, lock)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """Make a temporary folder inside `folder`. It is removed at the end of the block or, after a kill, by the next `sweep`."""
    folder.mkdir(parents=True, exist_ok=True)
    number = uuid.uuid4().hex[:16]
    with locked(folder, number):
        work = new(folder, number)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def locked(folder: Path, fingerprint: str) -> Iterator[None]:
    """Wait for the lock for building one artifact, and hold it. First removes leftovers of killed processes."""
    sweep(folder, but=fingerprint)
    lock = _lock(folder, fingerprint, wait=True)
    try:
        if lock is not None:
            _clear(folder, fingerprint)
        yield
    finally:
        if lock is not None:
            _unlock(folder, fingerprint, lock)


def _fingerprints(folder: Path) -> set[str]:
    return {found["fingerprint"] for path in folder.iterdir() if (found := _OURS.fullmatch(path.name))}


def _clear(folder: Path, fingerprint: str) -> None:
    for path in folder.glob(f".making-{fingerprint}*"):
        if path.is_dir():
            _log.warning("removing what a killed run left: %s", path)
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix == ".part":
            path.unlink(missing_ok=True)


def _lock(folder: Path, fingerprint: str, wait: bool) -> int | None:
    """Return an open file that holds the lock. None if locks are unsupported or, without `wait`, if another process holds the
    lock."""
    path = folder / f".making-{fingerprint}.lock"
    while True:
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES) or not wait:
                os.close(lock)
                return None
            _log.warning(
                "another run is building %s; waiting for it to end (Ctrl-C leaves it to that run)", folder.name
            )
            fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_at(lock, path):
            return lock
        os.close(lock)  # the holder removed this file when it was done: others would not see our lock


def try_lock(path: Path, make: bool = True, mode: int = 0o600) -> int | None:
    """Open and lock a file; the lock ends with the process. Returns None if another process holds the lock.

    Raises FileNotFoundError when there is no such file and `make` is false.
    """
    descriptor = os.open(path, (os.O_CREAT if make else 0) | os.O_RDWR | os.O_CLOEXEC, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def exclusive(path: Path, otherwise: str, mode: int = 0o600) -> Iterator[int]:
    """Hold the lock of a file, and yield its descriptor. Raises UserError (text `otherwise`) if it is already locked."""
    lock = try_lock(path, mode=mode)
    if lock is None:
        raise UserError(otherwise)
    try:
        yield lock
    finally:
        os.close(lock)


def _is_at(lock: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False


def _unlock(folder: Path, fingerprint: str, lock: int) -> None:
    (folder / f".making-{fingerprint}.lock").unlink(missing_ok=True)
    os.close(lock)
