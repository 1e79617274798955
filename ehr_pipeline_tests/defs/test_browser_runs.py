"""What a user clicks beside “Materialize all”: a backfill of two extracts, one check alone, an override, a failed check read."""

import time
from pathlib import Path

import pytest

from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline_tests.conftest import write_settings
from ehr_pipeline_tests.defs.browser import Page, Server
from ehr_pipeline_tests.defs.test_browser import MINUTES, RELOAD, pytestmark  # noqa: F401 (of this module too)
from ehr_pipeline_tests.processes import until
from ehr_pipeline_tests.second_extract import LATER, grow

IN_EDITOR = "document.querySelector('.CodeMirror').CodeMirror"


@pytest.fixture
def store(tiny: Pipeline, extract: Path, tmp_path: Path) -> Store:
    """The tiny study's store, beside a landing folder with two extracts of which it holds one."""
    return Store(grow(tiny, extract, tmp_path).folder / "store")


@pytest.fixture
def settings_file(store: Store, extract: Path, tmp_path: Path) -> Path:
    return write(tmp_path, extract)


def write(folder: Path, extract: Path, **changes: dict[str, object]) -> Path:
    records = {"landing": str(folder / "landing")}
    return write_settings(folder / "settings.toml", extract, folder / "store", records=records, **changes)


def test_runs_of_a_user(server: Server, page: Page, store: Store, extract: Path, tmp_path: Path) -> None:
    page.open(f"{server.address}/assets/raw_records")
    page.click("Materialize")
    page.click("All")
    page.click("Launch backfill")
    assert until(lambda: statuses(server) == ["SUCCESS"], 6 * MINUTES), statuses(server)
    assert {name for name in (EXTRACT, LATER) if store.has("raw_records", name)} == {EXTRACT, LATER}

    page.open(f"{server.address}/assets/clusters?view=checks")
    assert page.shows("This is a non-blocking asset check")
    page.click("Execute")
    assert until(lambda: statuses(server) == ["SUCCESS"] * 2, 6 * MINUTES), statuses(server)
    assert until(lambda: page.text().count("Not Evaluated") == 6, MINUTES), page.text()

    page.open(f"{server.address}/assets/clusters")
    assert until(lambda: opened(page, "Materialize", "Open launchpad"), MINUTES), page.text()
    page.click("Open launchpad")
    page.click_until("Confirm", f"{IN_EDITOR} !== undefined")  # upstream assets were made before Dagster knew of them
    page.value(f"{IN_EDITOR}.setValue('resources: {{pipeline: {{config: {{overrides: {{clusters: {{n: 5}}}}}}}}}}')")
    time.sleep(3)  # the launchpad takes what was typed after a pause
    page.click("Materialize")
    assert until(lambda: statuses(server) == ["SUCCESS"] * 3, 6 * MINUTES), (statuses(server), page.text())
    assert store.current("clusters").counts["clusters"] == 5
    page.open(f"{server.address}/assets/clusters")
    assert page.shows("overrides")

    write(tmp_path, extract, vocabulary={"min_size": 100_000})
    server.query(RELOAD)
    page.open(f"{server.address}/assets/vocabulary")
    page.click("Materialize")
    page.click("Confirm")
    assert until(lambda: statuses(server) == ["FAILURE", *["SUCCESS"] * 3], 6 * MINUTES), statuses(server)
    page.open(f"{server.address}/runs/{server.runs()[0]['runId']}")
    assert page.shows("check vocabulary_size failed"), "the reason, not a stack of Dagster's own error"


def opened(page: Page, beside: str, entry: str) -> bool:
    """Open a menu, whose button takes no click while the page is being built."""
    page.click_beside(beside)
    return page.shows(entry, seconds=3)


def statuses(server: Server) -> list[str]:
    """Newest first."""
    return [run["status"] for run in server.runs()]
