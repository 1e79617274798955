"""Recognise special files, which must not be opened: named pipes, sockets and devices."""

import stat
from pathlib import Path

NEITHER = {
    stat.S_ISFIFO: "a named pipe (FIFO)",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def special(path: Path) -> str:
    """Return the kind of special file at a path, in words; empty for a file, a folder, or a missing or inaccessible path.

    Opening a named pipe waits for a writer, perhaps for ever, and a device may have no end. So this opens nothing.
    """
    try:
        return kind(path.stat().st_mode)
    except (OSError, ValueError):
        return ""


def kind(mode: int) -> str:
    """Return the kind of special file with this mode (`st_mode`), in words; empty for a file or a folder."""
    return next((words for of, words in NEITHER.items() if of(mode)), "")
