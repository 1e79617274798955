"""Settings for how threads wait and allocate memory. Import this before other packages, in notebooks too."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

WAITING = {"GOMP_SPINCOUNT": "10000", "OPENBLAS_THREAD_TIMEOUT": "14"}
"""Waiting threads spin briefly, then sleep. By default they spin for long; on a busy machine this keeps the thread that they all
wait for off its core. Two threads computed this many products of 512 x 128 per second on a quiet and on a busy machine: 2,370 and
100 by default, 2,530 and 430 with this value, and 1,500 and 1,000 if threads sleep at once. For the products of NumPy and SciPy,
threads wait in OpenBLAS, by default for 2^26 cycles. On a busy machine, solving 260 equations then took 5 times as much processor
time as with 2^14 cycles, and 20 times as much as on one thread."""
MEMORY = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Arrow allocates from the C library's heap, and all threads share one heap. By default Arrow has its own heap, glibc gives each
thread another, and each heap keeps the memory that was freed in it."""
M_ARENA_MAX = -8
"""Option of glibc's `mallopt` for the number of heaps; its environment variable is read only when a process starts."""


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute products of matrices on one thread. This is for many small products: dividing such a product among threads takes
    longer than computing it."""
    # It acts on the libraries loaded so far, so it is imported here. scikit-learn depends on it too.
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield


def mallopt(option: int, value: int) -> None:
    """Set an option of the C library's memory allocation, on Linux with glibc."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "mallopt"):
        library.mallopt(option, value)


for _name, _value in (WAITING | MEMORY).items():
    os.environ.setdefault(_name, _value)
if "MALLOC_ARENA_MAX" not in os.environ:
    mallopt(M_ARENA_MAX, 1)
