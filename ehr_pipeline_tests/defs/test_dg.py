"""Dagster's own look at the definitions: `dg check defs` and `dg list defs` find them, and have nothing to say against them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline_tests.conftest import ROOT

pytestmark = pytest.mark.slow


def dg(tmp_path: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """A command of dg in the checkout, with the embedded demo."""
    environment = {name: value for name, value in os.environ.items() if name != "EHR_PIPELINE_SETTINGS"}
    environment |= {"DAGSTER_HOME": str(ROOT), "EHR_STATE_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment["VIRTUAL_ENV"] = str(ROOT / ".venv")  # as one that is activated; else dg warns that it is not
    command = [str(Path(sys.executable).parent / "dg"), *words]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_definitions_are_sound(tmp_path: Path) -> None:
    done = dg(tmp_path, "check", "defs")
    told = done.stdout + done.stderr
    assert done.returncode == 0, told
    assert "All definitions loaded successfully" in told
    assert "warning" not in told.lower(), told


def test_they_are_listed(tmp_path: Path) -> None:
    done = dg(tmp_path, "list", "defs", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "warning" not in done.stderr.lower(), done.stderr
    listed = json.loads(done.stdout)
    assert {asset["asset_key"] for asset in listed["assets"]} == set(STAGES)
    assert all(asset["description"] and asset["group_name"] and asset["kinds"] for asset in listed["assets"])
    assert {sensor["name"] for sensor in listed["sensors"]} >= {
        "read_new_extracts",
        "remake_what_follows",
        "report_failed_runs",
    }
    assert [schedule["name"] for schedule in listed["schedules"]] == ["read_new_extracts_on_schedule"]


@pytest.mark.parametrize("word", ["--help", "list --help"])
def test_its_help_helps(tmp_path: Path, word: str) -> None:
    """Another typer prints a bare line of usage: see constraints.txt."""
    done = dg(tmp_path, *word.split())
    assert done.returncode == 0
    assert "Commands" in done.stdout
