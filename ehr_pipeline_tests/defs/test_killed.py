"""Killed with -9 while it reads and trains: the next run ends with the same bytes, and nothing else is left."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from ehr_pipeline.defs.run import run
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline_tests.conftest import ROOT, at_home, tiny_settings, write_settings

pytestmark = pytest.mark.slow

# `ehr-pipeline run`, whose whole process group dies when it comes to a function for the nth time.
KILLED = """
import importlib, os, signal, sys
from ehr_pipeline import cli
module, name, calls = importlib.import_module(sys.argv[1]), sys.argv[2], int(sys.argv[3])
function = getattr(module, name)
def dies(*arguments):
    global calls
    calls -= 1
    return function(*arguments) if calls else os.killpg(0, signal.SIGKILL)
setattr(module, name, dies)
cli.main(["run", "--settings", sys.argv[4]])
"""


def version(store: Store, asset: str) -> str:
    return store.current(asset, EXTRACT if asset == "raw_records" else None).data_version


@pytest.mark.parametrize(
    ("asset", "moment"),
    [
        ("raw_records", ("ehr_pipeline.records.build", "release_all", "1")),
        ("encoder_checkpoint", ("ehr_pipeline.encoder.train", "_end_epoch", "2")),
    ],
    ids=["reading", "training"],
)
def test_the_next_run_ends_as_if_nothing_had_been(
    asset: str,
    moment: tuple[str, str, str],
    tiny: Pipeline,
    extract: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    at_home(monkeypatch, tmp_path)
    store = Store(tmp_path / "store")
    shutil.copytree(tiny.store.root, store.root)
    shutil.rmtree(store.folder(asset))
    file = write_settings(tmp_path / "settings.toml", extract, store.root)

    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *moment, str(file)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    assert killed.returncode == -9, killed.stderr
    halves = [path for path in store.folder(asset).rglob(".making-*") if path.is_dir()]
    assert len(halves) == 1, "it was in the middle"
    assert not store.partitions(asset)
    assert not store.has(asset)

    outcome = run(tiny_settings(extract, study={"store": str(store.root)}), None)
    assert not outcome.problems
    assert {row.asset for row in outcome.rows if row.state == "made"} == {asset}
    assert {name: version(store, name) for name in STAGES} == {name: version(tiny.store, name) for name in STAGES}
    assert {path.name for path in store.root.rglob(".*")} <= {".key"}
    with dg.DagsterInstance.get() as instance:
        ended = [record.dagster_run.status.value for record in instance.get_run_records()]
        slots = [instance.event_log_storage.get_concurrency_info(pool) for pool in ("reading", "training")]
    assert ended.count("FAILURE") == 1, "the killed run is not shown as running for ever"
    assert set(ended) == {"FAILURE", "SUCCESS"}
    assert not any(pool.active_slot_count or pool.pending_step_count for pool in slots)
