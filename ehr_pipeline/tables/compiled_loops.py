"""Compile loops over bytes and rows with numba, to run in parallel on threads.

numba compiles a loop once; later processes run the machine code without numba, because importing numba and reading its cache
takes two seconds in each process. The machine code is saved as an object file in `__pycache__` next to the source, or in the
user's cache, and loaded by llvmlite, numba's interface to LLVM. The file's name is a hash of everything that decides the code:
source, types, processor, versions. If neither folder is writable, each process compiles again (about a second for each loop).

This works for loops that call no other function, only fill given arrays, and return a number or nothing. Functions that create
arrays, or take or return tuples, need numba in every process.
"""

from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, TypeVar, cast

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])
_ONE_AT_A_TIME = Lock()


def compiled(function: Function) -> Function:
    """Compile a function of numbers and arrays on its first call with each combination of argument types.

    numba and llvmlite are imported at that moment, not by modules that only declare loops.
    """
    loops: dict[tuple[Any, ...], Callable[..., Any]] = {}

    @wraps(function)
    def call(*arguments: Any) -> Any:
        kinds = tuple([(x.dtype, x.ndim, x.flags.num) if isinstance(x, np.ndarray) else type(x) for x in arguments])
        loop = loops.get(kinds)
        if loop is None:
            from ehr_pipeline.tables import compiled_loop_cache

            with _ONE_AT_A_TIME:
                loop = loops.get(kinds) or loops.setdefault(kinds, compiled_loop_cache.loaded(function, arguments))
        return loop(*arguments)

    return cast(Function, call)


def part(function: Function) -> Function:
    """Mark a function to be inlined into the loops of the same module that call it.

    Such a function takes and returns numbers and arrays, and returns several results as a tuple.
    """
    function.is_part_of_a_loop = True  # type: ignore[attr-defined]
    return function
