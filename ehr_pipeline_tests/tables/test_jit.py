"""Compiled loops run where nothing can be kept on disk."""

from collections.abc import Callable
from typing import Any

import numba
import pytest

from ehr_pipeline.tables.jit import compiled


def test_without_a_place_for_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    real = numba.njit

    def refuses(cache: bool = False, **options: Any) -> Callable[..., Any]:
        def decorate(function: Callable[..., Any]) -> Any:
            if cache:
                raise RuntimeError("cannot cache function: no locator available")  # as numba says it
            return real(**options)(function)

        return decorate

    monkeypatch.setattr(numba, "njit", refuses)

    @compiled
    def twice(number: int) -> int:
        return 2 * number

    assert twice(21) == 42
