"""How threads wait for each other, and where they take memory from: set before other packages are imported, in notebooks too."""

import ctypes
import os
import sys

WAITING = {"GOMP_SPINCOUNT": "10000"}
"""Threads that wait for each other spin a little, then sleep. By default they spin for long, which on a busy machine keeps the
thread that all others wait for from its core. Products of 512 x 128 a second on two threads, on a quiet machine and on a busy one:
2,370 and 100 by default, 2,530 and 430 so, 1,500 and 1,000 when they sleep at once."""
MEMORY = {"ARROW_DEFAULT_MEMORY_POOL": "system"}
"""Arrow takes memory from the C library's heap, of which all threads share one. By default Arrow has a heap of its own, glibc gives
one to each thread, and each keeps what was freed there."""
M_ARENA_MAX = -8
"""How many heaps there are, as an option of glibc's `mallopt`. The environment variable is read when a process starts."""

for _name, _value in (WAITING | MEMORY).items():
    os.environ.setdefault(_name, _value)
if (
    "MALLOC_ARENA_MAX" not in os.environ
    and sys.platform == "linux"
    and hasattr(_library := ctypes.CDLL(None), "mallopt")
):
    _library.mallopt(M_ARENA_MAX, 1)
