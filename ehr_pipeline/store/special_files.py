"""What is neither a file nor a folder, and must not be opened: named pipes, sockets, devices."""

import stat
from pathlib import Path

NEITHER = {
    stat.S_ISFIFO: "a named pipe (FIFO)",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def special(path: Path) -> str:
    """What a path is that is neither a file nor a folder, in words; empty for those, and where nothing is or may be seen.

    Whoever opens a named pipe waits for a writer, perhaps for ever; a device may have no end. So this looks, and opens nothing.
    """
    try:
        return kind(path.stat().st_mode)
    except (OSError, ValueError):
        return ""


def kind(mode: int) -> str:
    """What something is by its mode, in words; empty for a file or a folder."""
    return next((words for of, words in NEITHER.items() if of(mode)), "")
