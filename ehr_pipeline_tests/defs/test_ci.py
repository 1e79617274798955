"""`ehr-pipeline ci-check`, as a user's CI runs it."""

import os
from pathlib import Path

import pytest

from ehr_pipeline import cli
from ehr_pipeline.artifacts import STAGES
from ehr_pipeline.defs import ci


def test_it_makes_everything_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = {name: os.environ.get(name) for name in ("DAGSTER_HOME", "EHR_STATE_DIR")}
    assert cli.main(["ci-check"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{asset:<22}" in printed for asset in STAGES)
    assert printed.rstrip().endswith("every asset made, every check passed")
    assert list(tmp_path.iterdir()) == []
    assert before == {name: os.environ.get(name) for name in before}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"events": {"coverage_floor": 0.99}}, "mapped_events: check mapping_coverage failed"),
        # It blocks nothing, and Dagster's own exit code would be 0.
        ({"clusters": {"n": 2, "permutations": 19}}, "clusters: check evidence_of_subgroups failed"),
    ],
)
def test_any_failed_check_fails_it(change: dict[str, dict[str, float]], told: str) -> None:
    assert any(told in problem for problem in ci.ci_check(change).problems)
