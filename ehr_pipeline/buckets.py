"""Work on buckets: the same function on every bucket, inline or on a pool of processes, with the same files as its result."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

from ehr_pipeline.progress import Progress

Job = TypeVar("Job")
Result = TypeVar("Result")


def map_buckets(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, what: str) -> list[Result]:
    """Apply a pure function of files and settings to every job, in order of the jobs."""
    progress = Progress(what, len(jobs))
    results = []
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            results.append(function(job))
            progress.advance(1)
        return results
    # Spawned, not forked: polars and torch hold threads, which a fork does not survive.
    with ProcessPoolExecutor(min(workers, len(jobs)), mp_context=multiprocessing.get_context("spawn")) as pool:
        for result in pool.map(function, jobs):
            results.append(result)
            progress.advance(1)
    return results


def shard_name(bucket: int) -> str:
    """File name of a bucket's shard."""
    return f"{bucket:05d}.arrow"
