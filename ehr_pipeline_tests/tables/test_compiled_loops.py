"""Compiled loops: what numba makes of them, saved and called without numba, gives the same; and what only numba can call works."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from ehr_pipeline.tables import compiled_loop_cache
from ehr_pipeline.tables.compiled_loops import compiled, part


def _fill(numbers: NDArray[np.int64], table: NDArray[np.float64], plus: int, flag: bool, small: np.uint8) -> float:
    total = 0.0
    for row in range(table.shape[0]):
        for column in range(table.shape[1]):
            total += table[row, column]
        numbers[row] = np.int64(small) + plus + (1000 if flag else 0)
    return total


def _add_up(numbers: NDArray[Any]) -> int:
    total = 0
    for place in range(len(numbers)):
        total += numbers[place]
    return total


def _is_even(number: int) -> bool:
    return number % 2 == 0


def _doubled(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    return 2 * numbers


def _both(numbers: NDArray[np.int64]) -> tuple[int, int]:
    return numbers[0], numbers[-1]


@part
def _square(number: int) -> int:
    return number * number


@part
def _square_and_cube(number: int) -> tuple[int, int]:
    return _square(number), number * _square(number)


def _powers(numbers: NDArray[np.int64]) -> int:
    total = 0
    for place in range(len(numbers)):
        square, cube = _square_and_cube(numbers[place])
        total += square + cube
    return total


def _powers_made(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    squares = np.empty_like(numbers)
    for place in range(len(numbers)):
        squares[place] = _square(numbers[place])
    return squares


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder for the code of loops."""
    monkeypatch.setattr(compiled_loop_cache, "folders", lambda _: [tmp_path])
    return tmp_path


def refuse_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any, **__: Any) -> Callable[..., Any]:
        raise AssertionError("numba was asked")

    monkeypatch.setattr(numba, "njit", refuses)


def test_code_is_called_from_its_file(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.arange(12.0).reshape(3, 4)
    for again in (False, True):
        if again:
            refuse_numba(monkeypatch)
        for given in (table, table.T, table[::2, ::3]):  # other types of arrays are other code
            numbers = np.zeros(given.shape[0], np.int64)
            assert compiled(_fill)(numbers, given, -7, True, np.uint8(250)) == given.sum()
            assert numbers.tolist() == [1243] * given.shape[0]
    assert len(list(kept.iterdir())) == 3


@pytest.mark.parametrize("kind", [np.int8, np.uint16, np.int32, np.int64, np.bool_])
def test_integers_of_every_size(kept: Path, kind: type) -> None:
    numbers = np.array([1, 0, 1, 1]).astype(kind)
    assert compiled(_add_up)(numbers) == 3
    numbers.flags.writeable = False
    assert compiled(_add_up)(numbers) == 3
    assert compiled(_add_up)(np.zeros(0, kind)) == 0


def test_a_flag_is_returned_as_one(kept: Path) -> None:
    assert compiled(_is_even)(4) is True
    assert compiled(_is_even)(-3) is False


@pytest.mark.parametrize("damage", [b"", b"{}\n", b"torn", b"[1]\n"])
def test_a_damaged_file_is_made_again(kept: Path, damage: bytes) -> None:
    assert compiled(_is_even)(2)
    (path,) = kept.iterdir()
    whole = path.read_bytes()
    for content in (damage, whole[:-10], whole[:-1] + b"?"):
        path.write_bytes(content)
        assert compiled(_is_even)(2)
        assert len(path.read_bytes()) == len(whole)


def test_code_of_an_older_source_is_removed(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled(_is_even)(2)
    (older,) = kept.iterdir()
    monkeypatch.setattr(compiled_loop_cache, "_versions", lambda: ("another numba",))
    assert compiled(_is_even)(2)
    (newer,) = kept.iterdir()
    assert newer != older


def test_parts_of_loops_are_put_in_their_place(kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.array([2, 3])
    assert compiled(_powers_made)(numbers).tolist() == [4, 9]  # by numba
    assert compiled(_powers)(numbers) == 4 + 8 + 9 + 27
    refuse_numba(monkeypatch)
    assert compiled(_powers)(numbers) == 4 + 8 + 9 + 27


def test_numba_calls_what_makes_arrays_or_returns_several_values(kept: Path) -> None:
    numbers = np.arange(3)
    assert compiled(_doubled)(numbers).tolist() == [0, 2, 4]
    assert compiled(_both)(numbers) == (0, 2)
    assert compiled(_both)((numbers, numbers))[1] is not None
    assert all(
        compiled_loop_cache._read(path) == {"symbol": "", "returns": "none", "code": b""} for path in kept.iterdir()
    )


def test_without_a_place_for_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(compiled_loop_cache, "folders", lambda _: [tmp_path / "file", tmp_path / "file/below"])
    real = numba.njit

    def refuses(cache: bool = False, **options: Any) -> Callable[..., Any]:
        def decorate(function: Callable[..., Any]) -> Any:
            if cache:
                raise RuntimeError("cannot cache function: no locator available")  # as numba says it
            return real(**options)(function)

        return decorate

    monkeypatch.setattr(numba, "njit", refuses)
    assert compiled(_is_even)(42)
    assert compiled(_doubled)(np.arange(3)).tolist() == [0, 2, 4]


def test_the_users_cache_is_used_where_the_source_is_read_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert compiled_loop_cache.folders(_is_even)[1:] == [tmp_path / "ehr_pipeline"]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert compiled_loop_cache.folders(_is_even)[1:] == [Path("/home/somebody/.cache/ehr_pipeline")]
    monkeypatch.delenv("HOME")
    assert compiled_loop_cache.folders(_is_even)[1:] == []


def test_the_second_process_that_hashes_ids_does_without_numba() -> None:
    code = (
        "import sys, numpy as np; from ehr_pipeline.tables.hashing import bucket_of_numbers as bucket\n"
        "print(bucket(np.arange(3), 8).tolist(), 'numba' in sys.modules)"
    )
    told = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert told[1].stdout == f"{told[0].stdout.split(']')[0]}] False\n"
