"""A few of the malformed extracts of `benchmarks/fuzz.py`, and every one that once ended badly."""

import random
from pathlib import Path

import pytest

from ehr_pipeline_tests.records.malformed import Case, run

OUTCOMES = ("clear error in ", "result", "stopped by a check of the values")


FIRST = 20
"""Of `make test`."""


@pytest.mark.parametrize(
    "number", [pytest.param(number, marks=pytest.mark.slow if number >= FIRST else ()) for number in range(100)]
)
def test_a_malformed_extract_ends_in_a_result_or_a_clear_error(number: int, tmp_path: Path) -> None:
    assert run(Case(random.Random(number)), tmp_path).startswith(OUTCOMES)


def test_some_cases_end_in_a_result_and_some_in_an_error(tmp_path: Path) -> None:
    ends = {run(Case(random.Random(number)), tmp_path / str(number)).split()[0].strip(",") for number in range(12)}
    assert {"result", "clear"} <= ends
