"""What checks say when they do not pass."""

from pathlib import Path
from typing import Any

import pytest

from ehr_pipeline.artifacts import Artifact
from ehr_pipeline.checks import patients


@pytest.mark.parametrize(
    ("verdict", "passed", "told"),
    [
        ("clear", True, "clear evidence of subgroups"),
        ("weak", True, "weak evidence of subgroups"),
        ("none", False, "no evidence of subgroups"),
        ("untested", False, "too few patients have enough records to test for subgroups"),
    ],
)
def test_the_verdict_of_the_split_half_test_in_words(verdict: str, passed: bool, told: str, tmp_path: Path) -> None:
    test: dict[str, Any] = {"verdict": verdict, "recognised": None, "expected": None, "excess": None}
    found = patients.evidence(Artifact(tmp_path, {"counts": {"split_half": test}}), None, None)  # type: ignore[arg-type]
    assert found == (passed, f"split-half test: {told}", {})
