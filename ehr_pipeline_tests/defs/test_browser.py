"""The UI as a user sees it, in a real browser: materialise everything, change a setting, see what is stale, end a training."""

import shutil
from pathlib import Path

import dagster as dg
import pytest

from ehr_pipeline.defs import servers
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline_tests.conftest import write_settings
from ehr_pipeline_tests.defs.browser import Page, Server
from ehr_pipeline_tests.processes import alive, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("chromium") is None, reason="there is no chromium (Debian: apt-get install chromium)"
    ),
]
MINUTES = 60.0
RELOAD = "mutation {reloadWorkspace {__typename}}"
STALE = "{assetNodes {assetKey {path} staleStatus staleCauses {reason}}}"


@pytest.fixture
def settings_file(extract: Path, tmp_path: Path) -> Path:
    write(tmp_path / "settings.toml", extract, tmp_path / "store")
    return tmp_path / "settings.toml"


def write(path: Path, extract: Path, store: Path, **changes: dict[str, object]) -> None:
    launcher = {"backend": "processes", "processes": 2, "threads": 1}
    write_settings(path, extract, store, launcher=launcher, **changes)


def trainings(home: Path) -> list[int]:
    """The process numbers of trainings of this Dagster home: others may run on the machine."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
            environment = path.with_name("environ").read_bytes()
        except OSError:
            continue
        ours = f"DAGSTER_HOME={home}".encode() in environment.split(b"\0")
        if ours and b"ehr_pipeline.encoder.train" in command and alive(int(path.parent.name)):
            found.append(int(path.parent.name))
    return found


def test_the_work_of_a_user(
    server: Server, page: Page, extract: Path, tmp_path: Path, settings_file: Path, home: Path
) -> None:
    page.open(f"{server.address}/asset-groups")
    page.click("Materialize all", 3 * MINUTES)
    page.click("All")
    page.click("Launch")
    store = Store(tmp_path / "store")
    assert until(lambda: store.has("cluster_reports"), 8 * MINUTES), server.runs()
    assert until(lambda: {run["status"] for run in server.runs()} == {"SUCCESS"}, MINUTES), server.runs()
    assert all(servers.TAG in tags for tags in tags_of_runs(home)), "every run says which server launched it"
    page.open(f"{server.address}/assets/cluster_reports")
    assert page.shows("Latest materialization")
    assert page.shows("map of clusters"), "the picture of the map, among the metadata"
    page.open(f"{server.address}/assets/mapped_events?view=checks")
    assert page.shows("mapping_coverage")
    assert page.shows("Succeeded"), "the results of the checks"

    assert stale(server) == set()
    fewer = {"clusters": {"n": 6}}
    write(settings_file, extract, tmp_path / "store", **fewer)
    page.open(f"{server.address}/asset-groups")
    page.click("Reload definitions")
    # What was made of the clusters is unsynced once they are others.
    for unsynced in ({"clusters"}, {"patient_trajectories", "cluster_reports"}):
        assert until(lambda: stale(server) == unsynced, MINUTES), stale(server)  # noqa: B023 (called here)
        for asset in unsynced:
            page.open(f"{server.address}/assets/{asset}")
            assert page.shows("Unsynced"), asset
        backfilled = len(server.runs())
        page.open(f"{server.address}/asset-groups")
        page.click_beside("Materialize all")
        page.click("Materialize unsynced")
        page.click(f"Materialize {len(unsynced)} asset")
        assert until(lambda: len(server.runs()) > backfilled, MINUTES)  # noqa: B023
        assert until(lambda: {run["status"] for run in server.runs()} == {"SUCCESS"}, 2 * MINUTES), server.runs()
    assert until(lambda: stale(server) == set(), MINUTES), stale(server)
    assert store.current("clusters").counts["clusters"] == 6

    busy = {"encoder": {"max_epochs": 100000, "learning_rate": 0.001}}
    write(settings_file, extract, tmp_path / "store", **fewer, **busy)
    server.query(RELOAD)
    assert until(lambda: "encoder_checkpoint" in stale(server), MINUTES)
    assert "patient_dataset" not in stale(server)

    page.open(f"{server.address}/assets/encoder_checkpoint")
    page.click("Materialize")
    assert until(lambda: len(trainings(home)) >= 3, 3 * MINUTES), "torchrun and its two processes"
    started = trainings(home)
    newest = server.runs()[0]["runId"]
    page.open(f"{server.address}/runs/{newest}")
    page.click("Terminate")
    page.click("Terminate")
    assert until(lambda: server.runs()[0]["status"] == "CANCELED", 2 * MINUTES), server.runs()[0]
    assert until(lambda: not any(map(alive, started)), MINUTES)
    assert store.has("encoder_checkpoint"), "what was there before stays"
    assert not named(home, extract), "no patient, in the state of a server that runs"
    assert {asset for asset in STAGES if asset != "raw_records" and not store.has(asset)} == set()


def named(home: Path, extract: Path) -> list[str]:
    """The files of a Dagster home that name a patient: databases (and their write-ahead logs, if any), and what runs printed."""
    lines = (extract / "landing" / EXTRACT / "patients.txt").read_bytes().splitlines()[1:]
    ids = [line.split(b"\t")[0] for line in lines]
    # Databases last: a server that runs moves a write-ahead log into its database and deletes it at any moment.
    files = sorted((path for path in home.rglob("*") if path.is_file()), key=lambda path: path.suffix == ".db")
    contents = {path: there for path in files if (there := content(path)) is not None}
    assert any(path.suffix == ".db" for path in contents)
    assert any(b"epoch 1: training loss" in there for path, there in contents.items() if "compute_logs" in path.parts)
    return [str(path) for path, there in contents.items() if any(one in there for one in ids)]


def content(path: Path) -> bytes | None:
    """What a file holds; None where it has gone since it was listed."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def tags_of_runs(home: Path) -> list[dict[str, str]]:
    """The tags of all runs, hidden ones too, which the server tells nobody."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("EHR_STATE_DIR", str(home / "state"))
        with dg.DagsterInstance.get() as instance:
            return [dict(run.tags) for run in instance.get_runs()]


def stale(server: Server) -> set[str]:
    return {node["assetKey"]["path"][0] for node in server.query(STALE)["assetNodes"] if node["staleStatus"] == "STALE"}
