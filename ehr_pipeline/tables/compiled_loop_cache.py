"""Cache the machine code of loops: compiled by numba once, saved, and called without numba (see `compiled_loops`).

In numba's calling convention, a compiled function takes an array as a series of arguments: two pointers to the owner (not used
by loops), the number of values, the bytes of each value, the address, the shape and the strides. Before code is saved, the
argument types that LLVM shows are compared with those that this module would pass. If they differ, as they may in a future
version of numba, numba calls the function.
"""

import ctypes
import hashlib
import json
import os
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from importlib import import_module, metadata
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np

Types = tuple[str, ...]
ENDING = ".loop"
PART = "is_part_of_a_loop"
"""Attribute of functions that are parts of loops."""
OTHER = "other"
"""The type of arguments that only numba can pass."""
_SCALARS: dict[str, Any] = {
    **{f"int{bits}": getattr(ctypes, f"c_int{bits}") for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": getattr(ctypes, f"c_uint{bits}") for bits in (8, 16, 32, 64)},
    "bool": ctypes.c_uint8,
    "float32": ctypes.c_float,
    "float64": ctypes.c_double,
}
_NONE = "none"
_LLVM = {"float32": "float", "float64": "double", "bool": "i8"}
_INSTRUCTIONS = re.compile(
    r"llvm\.(mem(cpy|move|set)|[su](max|min|add|sub)|abs|assume|lifetime|vector|masked|fsh[lr]|bswap|ct(lz|tz|pop))\b"
)
"""Functions of LLVM that become instructions, or calls of the C library's `memcpy`, `memmove` and `memset`."""
_OWNERS = re.compile(
    r"^define [^\n]*@NRT_(?:in|de)cref\(.*?^}\n|^ +(?:tail )?call void @NRT_(?:in|de)cref\(ptr %arg\.[\w.]+\)\n",
    re.MULTILINE | re.DOTALL,
)
"""Matches the functions that count references to an array, and their calls on arguments. Arguments need no counting, since the
caller owns them."""
_LOADED: list[Any] = []  # keeps the engines with the code of loaded functions alive


def _type(value: Any) -> str:
    """Return the type of a number ('int64') or of an array ('<i8 2 C', read-only '<i8 2 C r')."""
    if isinstance(value, np.ndarray):
        kind, flags = value.dtype, value.flags
        if kind.kind not in "iufb" or not kind.isnative or not flags.aligned or not value.ndim:
            return OTHER
        layout = "C" if flags.c_contiguous else "F" if flags.f_contiguous else "A"
        return f"{kind.str} {value.ndim} {layout}{'' if flags.writeable else ' r'}"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int64" if -(2**63) <= value < 2**63 else OTHER
    if isinstance(value, float):
        return "float64"
    return value.dtype.name if isinstance(value, np.generic) and value.dtype.name in _SCALARS else OTHER


def loaded(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Callable[..., Any]:
    """Return the function compiled for the types of these arguments, from a file or by numba."""
    types = tuple(map(_type, arguments))
    name = _name(function, types)
    if name is None:
        return by_numba(function)
    places = folders(function)
    for place in places:
        if code := _read(place / name):
            return _caller(code, types) if code["symbol"] else by_numba(function)
    code = _compile(function, types, arguments)
    for place in places:
        with suppress(OSError):
            _write(place / name, code)
            break
    return _caller(code, types) if code["symbol"] else by_numba(function)


def by_numba(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that numba compiles, caches and calls."""
    import numba

    whole = _with_parts(function)
    try:
        compiled: Callable[..., Any] = numba.njit(nogil=True, cache=True)(whole)
    except RuntimeError:  # no folder for the cache
        compiled = numba.njit(nogil=True)(whole)
    return compiled


def _with_parts(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function in which numba replaces calls of parts (`compiled_loops.part`) by their code."""
    import numba

    known: dict[str, Any] = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    parts = {
        name: numba.njit(inline="always")(_with_parts(each)) for name, each in known.items() if hasattr(each, PART)
    }
    if not parts:
        return function
    return FunctionType(function.__code__, {**function.__globals__, **parts}, function.__name__)


def folders(function: Callable[..., Any]) -> list[Path]:
    """Return the folders for a function's code: next to its source, and in the user's cache."""
    next_to_source, home = Path(function.__code__.co_filename).parent / "__pycache__", os.environ.get("HOME")
    users = os.environ.get("XDG_CACHE_HOME") or (f"{home}/.cache" if home else "")
    return [next_to_source, Path(users) / "ehr_pipeline"] if users else [next_to_source]


def _name(function: Callable[..., Any], types: Types) -> str | None:
    """Return the file name of a function's code, a hash of everything that determines the code; None if only numba can call it."""
    import llvmlite.binding as llvm

    try:
        source = Path(function.__code__.co_filename).read_bytes()
    except OSError:  # the function was typed into a notebook
        return None
    if OTHER in types or function.__closure__:
        return None
    known = {name: function.__globals__.get(name) for name in function.__code__.co_names}
    numbers = {name: repr(value) for name, value in known.items() if isinstance(value, (int, float, np.generic))}
    machine = llvm.get_process_triple(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    kind = hashlib.sha256(json.dumps([function.__qualname__, types, machine]).encode()).hexdigest()[:16]
    hashed = json.dumps([numbers, _versions()]).encode() + source + Path(__file__).read_bytes()
    stem = Path(function.__code__.co_filename).stem
    return f"{stem}.{function.__name__}-{kind}-{hashlib.sha256(hashed).hexdigest()[:16]}{ENDING}"


@cache
def _versions() -> tuple[str, ...]:
    return tuple(metadata.version(name) for name in ("numba", "llvmlite", "numpy"))


def _compile(function: Callable[..., Any], types: Types, arguments: tuple[Any, ...]) -> dict[str, Any]:
    """Compile a function. Returns its object file, symbol and result type; the symbol is empty if numba has to call it."""
    import llvmlite.binding as llvm

    numba: Any = import_module("numba")  # numba's type hints lack both of these options
    made = numba.njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)(_with_parts(function))
    made.compile(tuple(numba.typeof(argument) for argument in arguments))
    result = str(made.nopython_signatures[0].return_type)
    assembly = _OWNERS.sub("", made.inspect_llvm(made.signatures[0]))
    only_numba = {"symbol": "", "returns": _NONE, "code": b""}
    try:
        module = llvm.parse_assembly(assembly)
    except RuntimeError:  # numba counts references: the function makes arrays
        return only_numba
    defined = [each for each in module.functions if not each.is_declaration]
    called = [each.name for each in module.functions if each.is_declaration and assembly.count(f"@{each.name}(") > 1]
    if len(defined) != 1 or not all(map(_INSTRUCTIONS.match, called)) or result not in (_NONE, *_SCALARS):
        return only_numba
    expected = ["ptr", "ptr", *(kind for each in types for kind in _llvm_types(each))]
    if [str(each.type) for each in defined[0].arguments] != expected:
        return only_numba
    return {"symbol": defined[0].name, "returns": result, "code": _machine().emit_object(module)}


def _llvm_types(of: str) -> list[str]:
    """Return the LLVM types of one argument."""
    if of in _SCALARS:
        return [_LLVM.get(of, f"i{of.removeprefix('u').removeprefix('int')}")]
    return ["ptr", "ptr", "i64", "i64", "ptr", *["i64"] * (2 * int(of.split()[1]))]


def _machine() -> Any:
    """Return LLVM's description of this processor, to compile code for it and to load the code."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    cpu, features = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    return target.create_target_machine(cpu=cpu, features=features, opt=3, codemodel="jitdefault", jit=True)


def _caller(code: dict[str, Any], types: Types) -> Callable[..., Any]:
    """Return a function that calls loaded code without Python's global lock."""
    import llvmlite.binding as llvm

    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(code["code"]))
    engine.finalize_object()
    _LOADED.append(engine)
    kinds = [kind for each in types for kind in _c_types(each)]
    entry = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *kinds)(
        engine.get_function_address(code["symbol"])
    )
    is_array = [each not in _SCALARS for each in types]
    returned = _SCALARS.get(code["returns"], ctypes.c_int64)
    is_flag, is_none = code["returns"] == "bool", code["returns"] == _NONE

    def call(*arguments: Any) -> Any:
        passed = list[Any]()
        for each, array in zip(arguments, is_array, strict=True):
            if array:
                passed += (None, None, each.size, each.itemsize, each.ctypes.data, *each.shape, *each.strides)
            else:
                passed.append(each.item() if isinstance(each, np.generic) else each)
        result, problem = returned(), ctypes.c_void_p()
        status = entry(ctypes.addressof(result), ctypes.addressof(problem), *passed)
        assert not status, "a compiled loop raised an error"
        return None if is_none else bool(result.value) if is_flag else result.value

    return call


def _c_types(of: str) -> list[Any]:
    """Return the C types of one argument."""
    if of in _SCALARS:
        return [_SCALARS[of]]
    dimensions = int(of.split()[1])
    pointers, numbers = [ctypes.c_void_p], [ctypes.c_int64]
    return 2 * pointers + 2 * numbers + pointers + 2 * dimensions * numbers


def _read(path: Path) -> dict[str, Any] | None:
    """Read saved code; None if it is missing or incomplete."""
    try:
        head, _, body = path.read_bytes().partition(b"\n")
        header = json.loads(head)
        whole = header["sha256"] == hashlib.sha256(body).hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return {"symbol": str(header["symbol"]), "returns": str(header["returns"]), "code": body} if whole else None


def _write(path: Path, code: dict[str, Any]) -> None:
    """Save code atomically, as several processes may save the same code. Raises OSError if it cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"symbol": code["symbol"], "returns": code["returns"], "sha256": hashlib.sha256(code["code"]).hexdigest()}
    part = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        part.write_bytes(json.dumps(header).encode() + b"\n" + code["code"])
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    for older in path.parent.glob(f"{path.name.rpartition('-')[0]}-*{ENDING}"):
        if older != path:
            older.unlink(missing_ok=True)
