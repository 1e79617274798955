"""`make audit`: fails on a known vulnerability of a pinned version, warns where nothing can be known."""

import subprocess
import sys
from importlib import metadata
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TOP = Path(__file__).parents[1]
SCRIPT = TOP / ".ci/audit"
SOUND = {"name": "polars", "version": "2.1.0", "vulns": []}
FLAW = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["3.1.7"]}
FLAWED = {"name": "jinja2", "version": "3.1.6", "vulns": [FLAW]}
STAND_IN = """
import json, sys
known = {packages!r}
if known is None:
    sys.exit("ERROR: could not connect")
asked = open(sys.argv[sys.argv.index("-r") + 1]).read().split()
open({log!r}, "a").write(" ".join(asked) + chr(10))
found = [package for package in known if "skip_reason" in package or f"{{package['name']}}=={{package['version']}}" in asked]
open(sys.argv[sys.argv.index("-o") + 1], "w").write(json.dumps(dict(dependencies=found)))
sys.exit(1)
"""


def audit(tmp_path: Path, packages: list[dict[str, Any]] | None) -> "subprocess.CompletedProcess[str]":
    """The script, with something in place of pip-audit that finds these packages, or cannot connect."""
    stand_in = tmp_path / "stand_in.py"
    stand_in.write_text(STAND_IN.format(packages=packages, log=str(tmp_path / "asked.txt")))
    command = [sys.executable, str(SCRIPT), sys.executable, str(stand_in)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_all_that_is_installed_is_audited_and_the_pins_first(tmp_path: Path) -> None:
    version = metadata.version("starlette")  # of the UI's server: pinned nowhere
    flawed = {"name": "starlette", "version": version, "vulns": [FLAW]}
    done = audit(tmp_path, [SOUND, flawed])
    assert done.returncode == 1, done.stderr
    assert f"error: starlette {version}: PYSEC-2026-1" in done.stdout
    pins, others = (tmp_path / "asked.txt").read_text().splitlines()
    assert "polars==2.1.0" in pins.split()
    assert "polars==2.1.0" not in others.split()
    assert "ehr-pipeline" not in others


def test_a_vulnerability_fails(tmp_path: Path) -> None:
    done = audit(tmp_path, [SOUND, FLAWED])
    assert done.returncode == 1, done.stderr
    assert "error: jinja2 3.1.6: PYSEC-2026-1, mended in 3.1.7" in done.stdout
    assert audit(tmp_path, [SOUND]).returncode == 0


def test_a_service_that_cannot_be_reached_is_a_warning(tmp_path: Path) -> None:
    done = audit(tmp_path, None)
    assert done.returncode == 0
    assert "warning: the dependencies were not audited: ERROR: could not connect" in done.stdout
    (tmp_path / "asked.txt").unlink(missing_ok=True)
    mirror = audit(tmp_path, [{"name": "polars", "skip_reason": "not found"}])
    assert len((tmp_path / "asked.txt").read_text().splitlines()) == 1, "it is not asked for the rest"
    assert mirror.returncode == 0
    assert "warning: the dependencies were not audited: the advisory service knows none" in mirror.stdout
    absent = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "absent")], capture_output=True, text=True, check=False
    )
    assert absent.returncode == 0
    assert "warning: the dependencies were not audited" in absent.stdout


def test_an_exception_has_a_reason_and_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    loader = SourceFileLoader("audit", str(SCRIPT))
    spec = spec_from_loader("audit", loader)
    assert spec
    script = module_from_spec(spec)
    loader.exec_module(script)
    assert all(len(reason) > 20 for reason in script.EXCEPTIONS.values())
    monkeypatch.setattr(script, "EXCEPTIONS", {"CVE-2026-1": "only templates of strangers"})
    assert script.tell([FLAWED, {"name": "own", "skip_reason": "not on PyPI"}]) == 0
    told = capsys.readouterr().out
    assert "accepted: jinja2 3.1.6: PYSEC-2026-1, mended in 3.1.7 (only templates of strangers)" in told
    assert "not known to the advisory service: own" in told
