"""The deployment guide's way into a place without internet: its commands, for this package alone (the others are gigabytes)."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TOP = Path(__file__).parents[1]
GUIDE = (TOP / "docs/deployment.md").read_text(encoding="utf-8")


def command(begin: str) -> list[str]:
    """The line of the guide that begins so, without the program."""
    (line,) = re.findall(rf"^    {re.escape(begin)}(.*)$", GUIDE, re.MULTILINE)
    return shlex.split(line)


def test_the_wheelhouse_installs_without_an_index(tmp_path: Path) -> None:
    packed = command("outside/bin/python -m ")
    packed[packed.index("wheelhouse")] = str(tmp_path / "wheelhouse")
    packed.remove("torch")
    done = subprocess.run(
        [sys.executable, "-m", *packed, "--no-deps"], cwd=TOP, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode and "hatchling" in done.stderr + done.stdout:
        pytest.skip("the build backend cannot be had: no registry is reached")
    assert done.returncode == 0, done.stderr[-2000:]
    (tmp_path / "wheelhouse" / "constraints.txt").write_bytes((TOP / "constraints.txt").read_bytes())
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True, timeout=120)
    inside = command("venv/bin/python -m pip install --no-index ")
    install = [str(tmp_path / "venv/bin/python"), "-m", "pip", "install", "--no-index", "--no-deps", *inside]
    subprocess.run(install, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    assert (tmp_path / "venv/bin/ehr-pipeline").is_file()
    demo = next((tmp_path / "venv").rglob("ehr_pipeline/data/demo/settings.toml"), None)
    assert demo is not None, "the demo comes with it"
