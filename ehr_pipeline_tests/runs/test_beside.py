"""A run that has a second process make the predictions."""

import logging
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.errors import UserError
from ehr_pipeline.runs import beside
from ehr_pipeline.runs.beside import LATER, TwoBranches
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.tables.asset_names import (
    CLUSTER_REPORTS,
    CONCEPT_RELATIONS,
    ENCODER_CHECKPOINT,
    FORECASTS,
    PATIENT_TRAJECTORIES,
    PREDICTION_REPORT,
    TASK_RESULTS,
)
from ehr_pipeline_tests.conftest import at_home, tiny_settings


@pytest.fixture
def store(tiny: Pipeline, tmp_path: Path) -> Store:
    """A copy of the tiny study's store without what is made beside."""
    made = Store(shutil.copytree(tiny.store.root, tmp_path / "store"))
    for asset in LATER:
        shutil.rmtree(made.folder(asset))
    return made


@pytest.fixture
def two(extract: Path, store: Store) -> Iterator[TwoBranches]:
    study = tiny_settings(extract, study={"store": str(store.root)}, launcher={"branches": 2})
    pipeline = TwoBranches(study, {name: asset.code_version(study) for name, asset in ASSETS.items()}, {}, LATER)
    yield pipeline
    pipeline.close()


def test_what_clusters_do_not_need_is_made_beside() -> None:
    assert LATER == (CONCEPT_RELATIONS, FORECASTS, TASK_RESULTS, PREDICTION_REPORT)
    needed = beside._before(PATIENT_TRAJECTORIES)
    assert not needed & {*LATER}
    assert ENCODER_CHECKPOINT in needed


def test_the_second_process_makes_the_same_and_the_run_says_so(
    two: TwoBranches, tiny: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    assert two.asset(ENCODER_CHECKPOINT).skipped
    assert two._process is not None
    assert two._process.wait(120) == 0
    made = {asset: two.asset(asset) for asset in LATER}
    two.close()
    for asset, artifact in made.items():
        assert not artifact.skipped, "made in this run"
        assert artifact.data_version == tiny.store.current(asset).data_version
        assert f"{asset}: was made beside in" in caplog.text
    assert not [path for path in two.store.root.iterdir() if path.name.startswith(".making")]
    assert two.asset(FORECASTS).skipped, "it was there before this call"


def test_what_is_there_stays_unchanged(two: TwoBranches) -> None:
    super(TwoBranches, two).asset(FORECASTS)
    two.asset(ENCODER_CHECKPOINT)
    assert two.asset(FORECASTS).skipped
    assert not two.asset(TASK_RESULTS).skipped


def test_the_run_makes_what_a_killed_process_left(two: TwoBranches, tiny: Pipeline) -> None:
    two.asset(ENCODER_CHECKPOINT)
    assert two._process is not None
    two._process.kill()
    made = two.asset(FORECASTS)
    assert made.data_version == tiny.store.current(FORECASTS).data_version
    assert not made.skipped


def test_the_run_tells_why_an_asset_cannot_be_made(extract: Path, store: Store) -> None:
    study = tiny_settings(extract, study={"store": str(store.root)}, launcher={"branches": 2})
    pipeline = TwoBranches(study, {FORECASTS: "as it was before a list was edited"}, {}, [FORECASTS])
    pipeline.asset(ENCODER_CHECKPOINT)
    assert pipeline._process is not None
    assert pipeline._process.wait(120) != 0
    with pytest.raises(UserError, match="A list that the settings of forecasts name was edited"):
        pipeline.asset(FORECASTS)
    pipeline.close()


def test_the_second_process_ends_with_the_run(two: TwoBranches) -> None:
    two.asset(ENCODER_CHECKPOINT)
    assert two._process is not None
    two.close()
    assert two._process.poll() is not None
    assert not [path for path in two.store.root.iterdir() if path.name.startswith(".making")]


def test_heavy_jobs_take_turns(tmp_path: Path) -> None:
    got = threading.Event()

    def other() -> None:
        with beside._turn(tmp_path):
            got.set()

    with beside._turn(tmp_path):
        thread = threading.Thread(target=other)
        thread.start()
        assert not got.wait(3 * beside.LOOK)
    assert got.wait(60)
    thread.join()


@pytest.mark.slow
def test_a_run_of_dagster_makes_what_was_asked_for(
    extract: Path,
    store: Store,
    tiny: Pipeline,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from ehr_pipeline.defs.run import run

    at_home(monkeypatch, tmp_path)
    shutil.rmtree(store.folder(CLUSTER_REPORTS))
    caplog.set_level(logging.INFO)
    study = tiny_settings(extract, study={"store": str(store.root)}, launcher={"branches": 2})
    asked = run(study, f"{ENCODER_CHECKPOINT},{CONCEPT_RELATIONS},{CLUSTER_REPORTS},{FORECASTS}")
    assert asked.problems == []
    assert {row.asset: row.state for row in asked.rows} == {
        ENCODER_CHECKPOINT: "unchanged",
        CONCEPT_RELATIONS: "made",
        CLUSTER_REPORTS: "made",
        FORECASTS: "made",
    }
    assert not store.has(TASK_RESULTS), "it was not asked for"
    for asset in (CONCEPT_RELATIONS, CLUSTER_REPORTS, FORECASTS):
        assert store.current(asset).data_version == tiny.store.current(asset).data_version
