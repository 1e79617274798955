"""What lives as long as its test: a Dagster instance, a server with a home of its own, a browser."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from ehr_pipeline_tests.conftest import ROOT
from ehr_pipeline_tests.defs.browser import Page, Server, chromium, serving


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("dagster.yaml", "workspace.yaml"):
        shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture
def server(settings_file: Path, home: Path, tmp_path: Path) -> Iterator[Server]:
    with serving(settings_file, home, tmp_path / "server.log") as server:
        yield server


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with chromium(tmp_path / "profile") as page:
        yield page
