"""Benchmarks that build on the stages' own functions run: types alone do not show that a stage expects something else by now."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "benchmarks"


@pytest.mark.slow
@pytest.mark.skipif(
    not SCRIPTS.parent.joinpath(".git").exists(), reason="the benchmark notes the commit that it measures"
)
def test_the_error_rates_of_a_cohort_can_be_measured(tmp_path: Path) -> None:
    """All stages from mapped events to the findings of the page, on one cohort."""
    options = ("--kinds", "null", "--size", "300", "--cohorts", "1")
    subprocess.run([sys.executable, SCRIPTS / "error_rates.py", "--work", tmp_path, *options], check=True)
    told = json.loads((tmp_path / "null/300/0/now.json").read_text(encoding="utf-8"))
    assert 200 < told["patients"] <= 300
    assert told["marks by patients"] > 0
    assert told["verdict"] in {"none", "differ", "weak", "clear"}
