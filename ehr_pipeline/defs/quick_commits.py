"""Commit to Dagster's SQLite databases without waiting for the disk each time.

Dagster opens and closes a connection for each of the thousands of statements in a run. When the last connection to a database is
closed, SQLite copies its write-ahead log into the database. So each statement waited several times until the disk had written.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

_ONCE = Lock()


@contextmanager
def quick_commits() -> Iterator[None]:
    """Until the end of the block, keep a connection to each SQLite database open, and flush only when its log is copied into it.

    A database cannot be damaged by this. If the machine itself fails, the last events of the run may be missing from Dagster's log;
    artifacts are flushed by themselves, so they stay. Inside another such block, this does nothing.
    """
    if not _ONCE.acquire(blocking=False):
        yield
        return
    kept: dict[str, sqlite3.Connection] = {}

    def connected(connection: Any, _record: Any) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return
        with suppress(
            sqlite3.OperationalError
        ):  # another process is making it just now; the next connection tries again
            connection.execute("PRAGMA synchronous = NORMAL")
            file = connection.execute("PRAGMA database_list").fetchone()[2]
            if file and file not in kept:  # without a file it is in memory
                kept[file] = sqlite3.connect(file, timeout=0, check_same_thread=False)
            if file:
                kept[file].execute("PRAGMA schema_version").fetchone()  # the log stays for connections that have read

    event.listen(Engine, "connect", connected)
    try:
        yield
    finally:
        event.remove(Engine, "connect", connected)
        for connection in kept.values():
            connection.close()
        _ONCE.release()
