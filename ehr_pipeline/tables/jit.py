"""Compile loops over bytes and rows with numba, so that several can run in parallel on threads.

numba is imported when the first loop is called, because the import takes a second. The machine code is saved next to the source, or
in the user's cache, for later processes; if neither is writable, each process compiles again (about a second for each loop).
"""

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])
_ONE_AT_A_TIME = Lock()


def compiled(function: Function) -> Function:
    """Compile a function of numbers and arrays when it is first called with arguments of such types."""
    made: list[Callable[..., Any]] = []

    @wraps(function)
    def call(*arguments: Any) -> Any:
        if not made:
            with _ONE_AT_A_TIME:
                made.append(_compile(function))
        return made[0](*arguments)

    return cast(Function, call)


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    import numba

    try:
        return cast(Callable[..., Any], numba.njit(nogil=True, cache=True)(function))
    except RuntimeError:  # no folder for the cache
        return cast(Callable[..., Any], numba.njit(nogil=True)(function))
