"""Where something is made before it is published: one maker at a time, and nothing left of makers that were killed.

    .making-<fingerprint>.lock         held (flock) by the process that makes this artifact; the lock dies with the process
    .making-<fingerprint>-<random>/    what it makes
    .making-<fingerprint>.part         the next content of `current`

Folders have random names, since workers of a killed process may write into theirs for a moment longer. Whoever gets a lock may
remove everything of its fingerprint. What is no artifact is made the same way, under a random number in place of a fingerprint
(`scratch`): in the root of a store what leaves no trace there, beside its target what is written for use elsewhere.
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
    """Name of the file that becomes `current`."""
    return f".making-{fingerprint}.part"


def new(folder: Path, fingerprint: str) -> Path:
    """An empty folder to make an artifact in."""
    work = folder / f".making-{fingerprint}-{uuid.uuid4().hex[:8]}"
    work.mkdir()
    return work


def sweep(folder: Path, but: str = "") -> None:
    """Remove what killed makers left in a folder. What is being made stays, and so does what has the fingerprint `but`."""
    for other in sorted(_fingerprints(folder) - {but}) if folder.is_dir() else ():
        with suppress(PermissionError):  # of another user, who will remove it
            lock = _lock(folder, other, wait=False)
            if lock is not None:
                _clear(folder, other)
                _unlock(folder, other, lock)


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A new folder inside another one (made where missing), removed at the end; after a kill by the next `sweep` there."""
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
    """Make one artifact alone; who asks for the same one waits. First removes what killed makers left in the folder."""
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
    """An open file that holds the lock; None when another process holds it, or where the file system knows no locks."""
    path = folder / f".making-{fingerprint}.lock"
    while True:
        lock = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES) or not wait:
                os.close(lock)
                return None
            _log.warning("another run is making %s; waiting for its end", folder.name)
            fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_at(lock, path):
            return lock
        os.close(lock)  # its holder removed the file when it was done: ours is not the one that others see


def try_lock(path: Path, make: bool = True, mode: int = 0o600) -> int | None:
    """An open file with a lock on it, which dies with the process; None when another process has the lock.

    Raises FileNotFoundError when there is no such file and none is to be made.
    """
    descriptor = os.open(path, (os.O_CREAT if make else 0) | os.O_RDWR | os.O_CLOEXEC, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


@contextmanager
def alone(path: Path, otherwise: str, mode: int = 0o600) -> Iterator[int]:
    """Hold the lock of a file, an open one. Raises UserError, saying `otherwise`, when another process holds it."""
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
