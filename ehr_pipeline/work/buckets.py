"""Apply a function to every bucket of patients: inline, on threads or in processes, with the same resulting files.

`ehr_pipeline.engines` does the same on other machines; a stage takes either as an argument (`Spread`).
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache, wraps
from pathlib import Path
from typing import Protocol, TypeVar

from ehr_pipeline.errors import UserError
from ehr_pipeline.work.progress import Progress

# Up to this many workers run as threads, more run as processes. Most work on a bucket is done in numpy and Arrow, which release
# Python's global lock. Threads start at once and share memory (30 million rows on two cores: 13.0 s, with processes 15.1 s), but
# many of them would wait for the lock.
THREADS = 4
# All modules that work on buckets, imported before worker processes are forked.
PRELOADED = ["ehr_pipeline.records.finish_bucket", "ehr_pipeline.events.build", "ehr_pipeline.patients.dataset"]
Job = TypeVar("Job")
Result = TypeVar("Result")
_LET_GO: list[Callable[[], None]] = []


class Spread(Protocol):
    """Applies a pure function of files and settings to every job, on some engine. Results come in job order."""

    def __call__(self, function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, what: str) -> list[Result]:
        """Apply the function. Raises UserError when a worker cannot do its work."""


def read_once(paths: int = 1) -> Callable[[Callable[[Path], Result]], Callable[[Path], Result]]:
    """Cache the results of a function of a path for the last `paths` paths, for all buckets, until `release_all`.

    Threads that ask for a path at the same time wait for the first one, so that the file is read only once.
    """

    def decorate(function: Callable[[Path], Result]) -> Callable[[Path], Result]:
        cached, one_at_a_time = lru_cache(paths)(function), threading.Lock()
        _LET_GO.append(cached.cache_clear)

        @wraps(function)
        def call(path: Path) -> Result:
            with one_at_a_time:
                return cached(path)

        return call

    return decorate


def release_all() -> None:
    """Empty the caches of `read_once` and close their files: on a network file system, a folder with an open file cannot be
    removed.

    Elsewhere, the disk space of a removed folder is freed only when its files are closed.
    """
    for let_go in _LET_GO:
        let_go()


def map_buckets(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, what: str) -> list[Result]:
    """Apply a pure function of files and settings to every job. Results come in job order. Raises UserError."""
    progress = Progress(what, len(jobs))
    results = []
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            results.append(function(job))
            progress.advance(1)
        return results
    try:
        with _pool(workers) as pool:
            with _uninterrupted():
                mapped = pool.map(function, jobs)
            for result in mapped:
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
    # Workers are not forked from this process: polars and torch hold threads, which do not survive a fork. They are forked from a
    # server that has only imported what the work needs.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Delay Ctrl-C. A pool starts its processes while it receives jobs; if interrupted then, it would wait for ever for a process
    that is only half started."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with_parent() -> None:
    """Start a thread that ends this worker if its parent ends; otherwise it would wait for ever, and keep its memory."""
    parent = multiprocessing.parent_process()
    assert parent

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def ahead(
    function: Callable[[Job], Result], items: Iterable[Job], threads: int = 2, depth: int | None = None
) -> Iterator[Result]:
    """Apply a function to items on a few threads, at most `depth` items (default: the number of threads) ahead of the consumer.

    Results come in the order of the items. An exception is raised in place of the result.
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
    """Return the file name of a bucket's shard."""
    return f"{bucket:05d}.arrow"
