"""`ehr-pipeline ci-check`, as a user's CI runs it."""

import getpass
import os
from pathlib import Path

import pytest

from ehr_pipeline import cli
from ehr_pipeline.defs import ci
from ehr_pipeline.runs.run_outcome import RunOutcome
from ehr_pipeline.tables.asset_names import STAGES

pytestmark = pytest.mark.slow


def test_it_makes_everything_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    before = {name: os.environ.get(name) for name in ("DAGSTER_HOME", "EHR_STATE_DIR")}
    assert cli.main(["ci-check"]) == 0
    printed = capsys.readouterr().out
    assert all(f"{asset:<22}" in printed for asset in STAGES)
    assert printed.rstrip().endswith("every asset was built, and every check that counts passed")
    assert {path.name for path in tmp_path.iterdir()} <= {f"torchinductor_{getpass.getuser()}"}, (
        "torch's cache, and no data"
    )
    assert before == {name: os.environ.get(name) for name in before}


def test_a_failed_blocking_check_fails_it() -> None:
    problems = ci.ci_check({"events": {"coverage_floor": 0.99}}).problems
    assert any("mapped_events: check mapping_coverage failed" in problem for problem in problems)


def test_so_does_one_that_blocks_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Dagster's own exit code would be 0."""
    told = "mapped_events: check drift_codes failed"
    monkeypatch.setattr(ci, "run", lambda study, select: RunOutcome([], [], [told]))
    assert cli.main(["ci-check"]) == 1
    assert f"error: {told}" in capsys.readouterr().err


@pytest.mark.parametrize("told", ci.NOT_OF_THE_SLICE)
def test_a_question_that_the_slice_cannot_answer_is_told_and_does_not_count(
    told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ci, "run", lambda study, select: RunOutcome([], [], [f"{told}: none"]))
    assert cli.main(["ci-check"]) == 0
    assert told in capsys.readouterr().err
