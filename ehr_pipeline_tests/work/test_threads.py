import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from ehr_pipeline.work.threads import one_thread

HEAPS = """
import ctypes, threading
{first}
import pyarrow as pa
hold = threading.Barrier(4)
def work():
    held = [bytes(1000) for _ in range(100)]
    hold.wait()
threads = [threading.Thread(target=work) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(pa.default_memory_pool().backend_name, flush=True)
library = ctypes.CDLL(None)
library.malloc_info(0, ctypes.c_void_p.in_dll(library, "stdout"))
library.fflush(None)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has several heaps")
def test_all_threads_and_arrow_take_memory_from_one_heap() -> None:
    free = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MALLOC_ARENA_MAX", "ARROW_DEFAULT_MEMORY_POOL")
    }

    def run(first: str) -> tuple[str, int]:
        command = [sys.executable, "-c", HEAPS.format(first=first)]
        pool, told = subprocess.run(command, env=free, check=True, capture_output=True, text=True).stdout.split("\n", 1)
        return pool, told.count("<heap ")

    assert run("import ehr_pipeline") == ("system", 1)
    pool, heaps = run("")
    assert pool != "system"
    assert heaps > 1


def test_small_products_are_computed_on_one_thread() -> None:
    def threads() -> set[int]:
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    assert np.linalg.solve(np.eye(3), np.ones(3)).tolist() == [1, 1, 1]
    with threadpool_limits(limits=2):
        assert threads() == {2}
        with one_thread():
            assert threads() == {1}
        assert threads() == {2}
