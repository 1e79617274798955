"""What docs/deployment.md and docs/operating.md have people write or type: it is valid, and what can run here is run."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from ehr_pipeline.defs.study import overridden
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import Study
from ehr_pipeline.terminology.shipped import shipped

pytestmark = pytest.mark.slow

TOP = Path(__file__).parents[1]
DEPLOYMENT, OPERATING = ((TOP / f"docs/{name}.md").read_text(encoding="utf-8") for name in ("deployment", "operating"))


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


@pytest.mark.parametrize("block", [*blocks(DEPLOYMENT, "toml"), *blocks(OPERATING, "toml")])
def test_settings_on_the_pages_are_settings(block: str) -> None:
    values = tomllib.loads(block)
    assert values
    study = settings.load(shipped("demo/settings.toml"), values)
    for section, own in values.items():
        for name, value in own.items():
            assert getattr(getattr(study, section), name) == value


def test_the_overrides_on_the_page_are_the_launchpad_s() -> None:
    (block,) = blocks(OPERATING, "yaml")
    overrides = yaml.safe_load(block)["resources"]["pipeline"]["config"]["overrides"]
    assert overridden(settings.load(shipped("demo/settings.toml")), overrides).clusters.n == 6
    told = re.findall(r"`overrides: (\{.*\})`", OPERATING)
    studies: list[Study] = [
        overridden(settings.load(shipped("demo/settings.toml")), yaml.safe_load(text)) for text in told
    ]
    assert [study.encoder.on_new_extract for study in studies] == ["retrain"]


def test_the_look_at_torch_runs() -> None:
    (line,) = re.findall(r"^    venv/bin/python (-c .*)$", DEPLOYMENT, re.MULTILINE)
    done = subprocess.run([sys.executable, *shlex.split(line)], capture_output=True, text=True, check=True)
    version, devices = done.stdout.split()
    assert version.startswith("2.")
    assert devices.isdigit()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
def test_the_service_is_one_that_systemd_takes(tmp_path: Path) -> None:
    (unit,) = [block for block in blocks(DEPLOYMENT, "ini") if "[Unit]" in block]
    program, *words = shlex.split(re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)[0])
    assert program.endswith("/bin/ehr-pipeline")
    assert words[0] == "ui"
    path = tmp_path / "ehr-pipeline.service"
    path.write_text(unit.replace(program, sys.executable))
    done = subprocess.run(
        [str(shutil.which("systemd-analyze")), "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line for line in done.stderr.splitlines() if path.name in line]
    assert done.returncode == 0, done.stderr
    assert not told
