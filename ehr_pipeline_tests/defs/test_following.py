"""What follows a new extract by itself, by Dagster's own evaluation of the conditions."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.defs.build_definitions import build
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline_tests.conftest import tiny_settings

pytestmark = pytest.mark.slow


class Evaluated:
    """The definitions and their conditions, evaluated tick after tick, with materialisations that are only told of."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **overrides: Any):
        self.instance, self.cursor = instance, None
        self.definitions = build(tiny_settings(folder, **overrides))

    def made(self, asset: str, version: str, partition: str | None = None) -> None:
        tags = {"dagster/data_version": version}
        self.instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition, tags=tags))

    def everything_made(self, version: str = "1") -> None:
        for asset in STAGES:
            if asset != "raw_records":
                self.made(asset, version)

    def checked(self, asset: str, passed: bool = True) -> None:
        for check in ASSETS[asset].all_checks:
            self.instance.report_runless_asset_event(
                dg.AssetCheckEvaluation(
                    asset_key=dg.AssetKey(asset),
                    check_name=check.name,
                    passed=passed,
                    metadata={},
                    blocking=check.blocking,
                )
            )

    def tick(self) -> set[str]:
        """The assets that are requested."""
        result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor = result.cursor  # type: ignore[assignment]
        return {asset for asset in STAGES if result.get_num_requested(dg.AssetKey(asset))}


@pytest.mark.parametrize("extracts", [1, 1000])
def test_other_data_of_an_extract_starts_everything_that_follows_once(
    tmp_path: Path, instance: dg.DagsterInstance, extracts: int
) -> None:
    names = [f"extract-{number:04}" for number in range(extracts)]
    instance.add_dynamic_partitions("extract", names)
    evaluated = Evaluated(tmp_path, instance)
    for name in names:
        evaluated.made("raw_records", "1", name)
    evaluated.checked("raw_records")
    evaluated.everything_made()
    evaluated.tick()
    assert evaluated.tick() == set(), "nothing new"

    evaluated.made("raw_records", "1", names[-1])
    assert evaluated.tick() == set(), "read again, and found the same"

    evaluated.made("raw_records", "2", names[-1])
    assert evaluated.tick() == set(STAGES) - {"raw_records"}
    evaluated.everything_made("2")
    assert evaluated.tick() == set()
    assert evaluated.tick() == set()


@pytest.mark.parametrize("does", ["embed", "warm_start", "retrain"])
def test_everything_follows_whatever_a_new_extract_does_to_the_model(
    tmp_path: Path, instance: dg.DagsterInstance, does: str
) -> None:
    """An encoder that stays is in the run too: it is skipped there, and so is not stale afterwards."""
    instance.add_dynamic_partitions("extract", ["a"])
    evaluated = Evaluated(tmp_path, instance, encoder={"on_new_extract": does})
    evaluated.tick()
    evaluated.made("raw_records", "1", "a")
    evaluated.checked("raw_records")
    assert evaluated.tick() == set(STAGES) - {"raw_records"}
    # The same extract once more, read again after a correction that was taken back; then a correction.
    for asset in STAGES:
        if asset != "raw_records":
            evaluated.made(asset, "1")
    evaluated.made("raw_records", "1", "a")
    assert evaluated.tick() == set()
    evaluated.made("raw_records", "2", "a")
    assert evaluated.tick() == set(STAGES) - {"raw_records"}


def test_what_follows_waits_for_the_last_of_the_new_extracts(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("extract", ["a", "b"])
    evaluated = Evaluated(tmp_path, instance)
    evaluated.made("raw_records", "1", "a")
    assert evaluated.tick() == set(), "b has not been read yet"
    evaluated.made("raw_records", "1", "b")
    evaluated.checked("raw_records")
    assert evaluated.tick() == set(STAGES) - {"raw_records"}
    assert evaluated.tick() == set(), "once"


def test_what_follows_waits_while_another_extract_is_read(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("extract", ["a", "b"])
    evaluated = Evaluated(tmp_path, instance)
    for name in ("a", "b"):
        evaluated.made("raw_records", "1", name)
    evaluated.everything_made()
    evaluated.checked("raw_records")
    evaluated.tick()
    # Without its checks, as the UI may be asked to: checks that are awaited would hold up what follows, too.
    reading = dg.define_asset_job("reading", dg.AssetSelection.assets("raw_records").without_checks())
    job = dg.Definitions.merge(evaluated.definitions, dg.Definitions(jobs=[reading])).resolve_job_def("reading")
    status, tags = dg.DagsterRunStatus.STARTED, {"dagster/partition": "b"}
    run = instance.create_run_for_job(job, status=status, tags=tags)
    evaluated.made("raw_records", "2", "a")
    assert evaluated.tick() == set(), "b is being read"
    instance.report_dagster_event(dg.DagsterEvent(dg.DagsterEventType.RUN_SUCCESS.value, run.job_name), run.run_id)
    assert evaluated.tick() == set(STAGES) - {"raw_records"}


def test_nothing_follows_an_extract_that_failed_a_blocking_check(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    instance.add_dynamic_partitions("extract", ["a"])
    evaluated = Evaluated(tmp_path, instance)
    evaluated.tick()
    evaluated.made("raw_records", "1", "a")
    evaluated.checked("raw_records", passed=False)
    assert evaluated.tick() == set()
    evaluated.made("raw_records", "2", "a")
    evaluated.checked("raw_records")
    assert evaluated.tick() == set(STAGES) - {"raw_records"}
