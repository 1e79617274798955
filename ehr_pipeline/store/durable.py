"""Write files that survive a crash of the machine, and explain disk errors."""

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def flush(path: Path) -> None:
    """Flush a file, or a folder's list of names, to the disk, to survive a crash of the machine."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # this file system does not support fsync
            raise
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str, part: str | None = None) -> None:
    """Replace a small file atomically; `part` is the name of the temporary file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(part or f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        temporary.write_text(text, encoding="utf-8")
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)


@contextmanager
def complete(path: Path) -> Iterator[Path]:
    """Yield the path of a hidden file that is renamed to `path` at the end of the block: the file appears complete or not at all.
    Nothing is flushed to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    yield beside
    beside.rename(path)


def why(error: Exception) -> str:
    """Return why a file cannot be used, in words."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return "it is no text" if isinstance(error, UnicodeDecodeError) else "it is torn or damaged"


def what_to_do(error: OSError) -> str:
    """Return a message on a disk error: what, at which file, and what to do."""
    about = f" ({error.filename})" if error.filename else ""
    remedy = {
        errno.ENOSPC: ". Make room there, or set study.store to another disk",
        errno.EDQUOT: ". Make room there, or set study.store to another disk",
        errno.EFBIG: ". Raise the limit on the size of files (ulimit -f)",
        errno.EACCES: ". Change the permissions, or set study.store to a folder that you may write to",
        errno.EROFS: ". Set study.store to a folder that you may write to",
        errno.EMFILE: ". Raise the limit on open files (ulimit -n)",
    }.get(error.errno or 0, "")
    return f"{error.strerror or error}{about}{remedy}"
