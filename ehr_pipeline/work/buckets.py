"""Work on buckets: the same function on every bucket, inline, on threads or on processes, with the same files as its result.

`ehr_pipeline.engines` does the same on other machines; stages take whichever they are given (`Spread`).
"""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Protocol, TypeVar

from ehr_pipeline.errors import UserError
from ehr_pipeline.work.progress import Progress

# Work on buckets is numpy and Arrow, which run side by side on threads; so a few workers are threads, which start at once and share
# their tables (30 M rows on two cores: 13.0 s, with processes 15.1 s). Many workers would wait for each other's Python.
THREADS = 4
# Everything that works on buckets, for processes.
PRELOADED = [
    "ehr_pipeline.records.finish",
    "ehr_pipeline.events.build",
    "ehr_pipeline.patients.dataset",
]
Job = TypeVar("Job")
Result = TypeVar("Result")
_LET_GO: list[Callable[[], None]] = []


class Spread(Protocol):
    """Applies a pure function of files and settings to every job, somewhere; results come in order of the jobs."""

    def __call__(self, function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, what: str) -> list[Result]:
        """Apply it. Raises UserError where a worker cannot do its work."""


def at_end(let_go: Callable[[], None]) -> Callable[[], None]:
    """Have a process that works on buckets call this when it has no more of them: close files that it kept open for all."""
    _LET_GO.append(let_go)
    return let_go


def let_go_of_all() -> None:
    """What `at_end` was told to do. An open file on a network file system keeps its folder from being removed."""
    for let_go in _LET_GO:
        let_go()


def map_buckets(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, what: str) -> list[Result]:
    """Apply a pure function of files and settings to every job, in order of the jobs."""
    progress = Progress(what, len(jobs))
    results = []
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            results.append(function(job))
            progress.advance(1)
        return results
    try:
        with _pool(workers) as pool:
            for result in pool.map(function, jobs):
                results.append(result)
                progress.advance(1)
    except BrokenProcessPool:
        raise UserError(
            f"{what}: a worker was killed, most likely because memory ran out. Set fewer workers, or more records.buckets."
        ) from None
    return results


def _pool(workers: int) -> Executor:
    if workers <= THREADS:
        return ThreadPoolExecutor(workers)
    # Not forked from here: polars and torch hold threads, which a fork does not survive. A server that has only imported what the
    # work needs forks the workers.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Workers of a killed parent wait for work for ever, and keep their memory: so a thread of theirs waits for its end."""
    parent = multiprocessing.parent_process()
    assert parent

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def ahead(
    function: Callable[[Job], Result], items: Iterable[Job], threads: int = 2, depth: int | None = None
) -> Iterator[Result]:
    """Apply a function to items on a few threads, up to `depth` items (as many as threads) ahead of who asks.

    Results come in order of the items. An exception is raised where its result would have come.
    """
    pool, waiting = ThreadPoolExecutor(threads, thread_name_prefix="ahead"), deque[Future[Result]]()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > (depth or threads):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def shard_name(bucket: int) -> str:
    """File name of a bucket's shard."""
    return f"{bucket:05d}.arrow"
