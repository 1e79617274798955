"""What starts by itself: the look at the landing folder. What follows it is in test_following.py."""

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from ehr_pipeline.defs import automation, extract_partitions
from ehr_pipeline.defs.build_definitions import build
from ehr_pipeline.defs.dagster_assets import build_assets
from ehr_pipeline.defs.study import build_study
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline_tests.conftest import tiny_settings

NOW = 2e9
HOUR = 3600.0


class Watcher:
    """A sensor that looks at a landing folder of its own, tick after tick, as the daemon has it do."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance, **overrides: Any):
        self.landing, self.instance, self.cursor = folder / "landing", instance, ""
        self.landing.mkdir()
        records = {"landing": str(self.landing), "latest_date": "2033-01-01", **overrides.pop("records", {})}
        self.study = tiny_settings(folder, records=records, **overrides)
        self.keys: set[str] = set()

    def land(self, extract: str, age: float = HOUR, text: str = "x") -> None:
        """Write an extract whose file changed `age` seconds ago."""
        path = self.landing / extract / "events_1.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        os.utime(path, (NOW - age, NOW - age))

    def tick(self) -> tuple[list[str], str]:
        """The extracts that are read after a look, and why none is."""
        found = automation.sensor_result(self.instance, Pipeline(self.study), self.cursor, NOW)
        for change in found.dynamic_partitions_requests or ():
            names = list(change.partition_keys)
            if isinstance(change, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions("extract", names)
            else:
                for name in names:
                    self.instance.delete_dynamic_partition("extract", name)
        self.cursor = found.cursor or ""
        started = [request for request in found.run_requests or () if request.run_key not in self.keys]
        self.keys |= {str(request.run_key) for request in started}
        reason = str(found.skip_reason.skip_message) if found.skip_reason else ""
        return [str(request.partition_key) for request in started], reason

    @property
    def partitions(self) -> Sequence[str]:
        return self.instance.get_dynamic_partitions("extract")


@pytest.fixture
def watcher(tmp_path: Path, instance: dg.DagsterInstance) -> Watcher:
    return Watcher(tmp_path, instance)


def test_ten_extracts_at_once_are_each_read_once(watcher: Watcher) -> None:
    names = [f"2030-01-{day:02}" for day in range(1, 11)]
    for name in names:
        watcher.land(name)
    assert watcher.tick() == (names, "")
    assert sorted(watcher.partitions) == names
    assert watcher.tick() == ([], "none of the 10 extracts has changed since it was read or queued")


def test_an_extract_that_lands_twice_is_read_once(watcher: Watcher) -> None:
    watcher.land("2030-01-01")
    assert watcher.tick()[0] == ["2030-01-01"]
    watcher.land("2030-01-01")
    assert watcher.tick()[0] == []
    watcher.cursor = ""  # as a user may reset it
    assert watcher.tick()[0] == [], "the run key is the same as before"


def test_a_corrected_extract_is_read_again_and_so_is_one_whose_correction_was_taken_back(watcher: Watcher) -> None:
    for text in ("first", "corrected", "first", "corrected"):
        watcher.land("2030-01-01", text=text)
        assert watcher.tick()[0] == ["2030-01-01"], text
        assert watcher.tick()[0] == []


def test_a_correction_is_read_though_the_cursor_was_reset(watcher: Watcher) -> None:
    watcher.land("2030-01-01", text="first")
    assert watcher.tick()[0] == ["2030-01-01"]
    watcher.cursor = ""
    watcher.land("2030-01-01", text="corrected")
    assert watcher.tick()[0] == ["2030-01-01"]


def test_a_half_copied_extract_waits_until_it_is_quiet(watcher: Watcher) -> None:
    watcher.land("2030-01-01")
    watcher.land("2030-02-01", age=60)
    assert watcher.tick()[0] == ["2030-01-01"]
    started, reason = watcher.tick()
    assert not started
    assert reason == ("waiting for 1 of 2 extracts to be complete: 2030-02-01: a file changed less than 15 minutes ago")
    assert watcher.partitions == ["2030-01-01"], "what is not complete is not known to Dagster"
    watcher.land("2030-02-01", age=HOUR)
    assert watcher.tick()[0] == ["2030-02-01"]


def test_a_file_from_the_future_does_not_wait_for_ever(watcher: Watcher) -> None:
    watcher.land("2030-01-01", age=-60)
    watcher.land("2030-02-01", age=-HOUR)
    assert watcher.tick()[0] == ["2030-02-01"]


def test_a_server_that_watches_starts_without_what_is_not_complete(
    tmp_path: Path, instance: dg.DagsterInstance
) -> None:
    watcher = Watcher(tmp_path, instance, operation={"watch": "sensor", "complete": "marker"})
    extract_partitions.register_watched(instance, Pipeline(watcher.study))
    assert watcher.partitions == [], "an empty landing folder is no error: something may land"
    for name in ("2030-01-01", "2030-02-01"):
        watcher.land(name)
    (watcher.landing / "2030-01-01" / "_COMPLETE").touch()
    extract_partitions.register_watched(instance, Pipeline(watcher.study))
    assert watcher.partitions == ["2030-01-01"]


def test_with_a_marker_an_extract_waits_for_it_however_old_it_is(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    watcher = Watcher(tmp_path, instance, operation={"complete": "marker"})
    watcher.land("2030-01-01")
    assert watcher.tick() == (
        [],
        "waiting for 1 of 1 extracts to be complete: 2030-01-01: the file _COMPLETE is not there",
    )
    (watcher.landing / "2030-01-01" / "_COMPLETE").touch()
    assert watcher.tick()[0] == ["2030-01-01"]
    (watcher.landing / "2030-01-01" / "_COMPLETE").write_text("again")
    assert watcher.tick()[0] == [], "the marker is not part of the extract"


def test_every_quiet_path_says_why(watcher: Watcher) -> None:
    assert watcher.tick()[1].endswith("contains no extract")
    (watcher.landing / "2030-01-01").mkdir()
    assert watcher.tick()[1].endswith("2030-01-01: it holds no file")
    (watcher.landing / "2030-01-01").rmdir()
    watcher.landing.rmdir()
    assert watcher.tick()[1].endswith("(records.landing) is not a folder")


def test_of_snapshots_the_newest_alone_is_read_and_known(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    watcher = Watcher(tmp_path, instance, records={"mode": "snapshot"})
    watcher.land("2030-01-01")
    watcher.land("2030-02-01")
    assert watcher.tick()[0] == ["2030-02-01"]
    watcher.land("2030-03-01")
    assert watcher.tick()[0] == ["2030-03-01"]
    assert watcher.partitions == ["2030-03-01"]


def test_what_was_read_before_anybody_watched_is_not_read_again(tiny: Pipeline, instance: dg.DagsterInstance) -> None:
    found = automation.sensor_result(instance, Pipeline(tiny.study), None, NOW + 1e9)
    assert not found.run_requests
    assert found.dynamic_partitions_requests, "but it is made known to Dagster"


@pytest.fixture
def three_read(extract: Path, tmp_path: Path) -> Pipeline:
    """A study of which three extracts were read, into as many buckets as the first was found to need."""
    names = ["2030-01-01", "2030-02-01", "2030-03-01"]
    for name in names:
        shutil.copytree(extract / "landing" / EXTRACT, tmp_path / "landing" / name)
    records = {"landing": str(tmp_path / "landing"), "buckets": 0, "latest_date": EXTRACT, "workers": 1}
    pipeline = Pipeline(tiny_settings(extract, study={"store": str(tmp_path / "store")}, records=records))
    for name in names:
        pipeline.raw_records(name)
    return pipeline


def counted(monkeypatch: pytest.MonkeyPatch, method: str) -> list[str]:
    """The assets that a method of the store is asked for, from now on."""
    asked: list[str] = []
    original = getattr(Store, method)

    def told(store: Store, asset: str, *arguments: Any) -> Any:
        asked.append(asset)
        return original(store, asset, *arguments)

    monkeypatch.setattr(Store, method, told)
    return asked


def test_a_look_lists_the_store_once_however_many_extracts_were_read(
    three_read: Pipeline, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each extract is read into as many buckets as the others: to list the others for each takes minutes at thousands."""
    listed = counted(monkeypatch, "partitions")
    found = automation.sensor_result(instance, Pipeline(three_read.study), None, time.time() + HOUR)
    assert not found.run_requests
    assert listed == ["raw_records"]


def test_the_catalog_which_names_all_extracts_is_not_read_for_each_of_them(
    three_read: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_read.extract_catalog()
    current = counted(monkeypatch, "current")
    assert Pipeline(three_read.study).extract_catalog().skipped
    assert current.count("extract_catalog") <= 1


def test_a_look_opens_no_file(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    watcher.land("2030-01-01")

    def opened(*arguments: Any, **named: Any) -> None:
        raise AssertionError("a file was opened")

    monkeypatch.setattr(Path, "open", opened)
    monkeypatch.setattr("builtins.open", opened)
    assert watcher.tick()[0] == ["2030-01-01"]


def test_a_look_requests_no_more_runs_than_it_has_time_for(watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(automation, "MOST_RUNS", 2)
    names = ["2030-01-01", "2030-01-02", "2030-01-03"]
    for name in names:
        watcher.land(name)
    assert watcher.tick()[0] == names[:2]
    assert watcher.tick()[0] == names[2:]


def test_the_sensor_and_the_schedule_as_dagster_evaluates_them(tmp_path: Path) -> None:
    with dg.instance_for_test() as instance:
        sensor_and_schedule(tmp_path, instance)


def sensor_and_schedule(tmp_path: Path, instance: dg.DagsterInstance) -> None:
    watcher = Watcher(tmp_path, instance, operation={"watch": "schedule", "quiet_minutes": 0})
    definitions = build(watcher.study)
    sensor = definitions.resolve_sensor_def("read_new_extracts")
    schedule = definitions.resolve_schedule_def("read_new_extracts_on_schedule")
    assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    # The resource as the daemon builds it: there is no run that it could ask about.
    repository, needed = definitions.get_repository_def(), {"pipeline": build_study(watcher.study)}
    with dg.build_schedule_context(
        instance, instance_ref=instance.get_ref(), repository_def=repository, resources=needed
    ) as context:
        assert "contains no extract" in str(schedule.evaluate_tick(context).skip_message)
    watcher.land("2030-01-01")
    with dg.build_sensor_context(
        instance, instance_ref=instance.get_ref(), repository_def=repository, resources=needed
    ) as context:
        asked = sensor.evaluate_tick(context).run_requests or []
        assert [request.partition_key for request in asked] == ["2030-01-01"]
    with dg.build_schedule_context(
        instance, instance_ref=instance.get_ref(), repository_def=repository, resources=needed
    ) as context:
        due = schedule.evaluate_tick(context).run_requests or []
    assert [request.partition_key for request in due] == ["2030-01-01"]
    assert due[0].run_key is None
    assert instance.get_dynamic_partitions("extract") == ["2030-01-01"]
    assert definitions.resolve_job_def("read_extract").tags["dagster/max_retries"] == "1"


def test_new_extracts_are_registered_without_a_run(tmp_path: Path) -> None:
    with dg.instance_for_test() as instance:
        watcher = Watcher(tmp_path, instance, operation={"quiet_minutes": 0})
        definitions = build(watcher.study)
        sensor = definitions.resolve_sensor_def("register_new_extracts")
        repository, needed = definitions.get_repository_def(), {"pipeline": build_study(watcher.study)}
        watcher.land("2030-01-01")
        with dg.build_sensor_context(
            instance, instance_ref=instance.get_ref(), repository_def=repository, resources=needed
        ) as context:
            tick = sensor.evaluate_tick(context)
        assert not tick.run_requests
        (request,) = tick.dynamic_partitions_requests or ()
        assert list(request.partition_keys) == ["2030-01-01"]


def test_loading_the_definitions_registers_what_has_landed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """So `Reload definitions` shows it. An empty landing folder, and a process without a Dagster home, are no errors."""
    with dg.instance_for_test() as instance:
        watcher = Watcher(tmp_path, instance)
        monkeypatch.setattr(dg.DagsterInstance, "get", lambda: instance)
        monkeypatch.setattr(instance, "__exit__", lambda *_: None, raising=False)
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
        monkeypatch.setenv("EHR_STATE_DIR", str(tmp_path))
        extract_partitions.register_when_loaded(watcher.study)
        assert watcher.partitions == []
        assert ("no extract is registered" in caplog.text) == (watcher.study.operation.watch == "off")
        watcher.land("2030-01-01")
        monkeypatch.delenv("EHR_STATE_DIR")
        extract_partitions.register_when_loaded(watcher.study)
        assert watcher.partitions == []
        monkeypatch.setenv("EHR_STATE_DIR", str(tmp_path))
        extract_partitions.register_when_loaded(watcher.study)
        assert watcher.partitions == ["2030-01-01"]


@pytest.mark.parametrize(
    ("watch", "running"),
    [
        ("off", set()),
        ("sensor", {"read_new_extracts", "remake_what_follows"}),
        ("schedule", {"read_new_extracts_on_schedule", "remake_what_follows"}),
    ],
)
def test_what_runs_from_the_start_is_what_the_settings_say(tmp_path: Path, watch: str, running: set[str]) -> None:
    repository = build(tiny_settings(tmp_path, operation={"watch": watch})).get_repository_def()
    found = [*repository.sensor_defs, *repository.schedule_defs]
    assert {one.name for one in found if one.default_status.value == "RUNNING"} == {"register_new_extracts", *running}
    assert {one.name for one in found} == {
        "report_failed_runs",
        "register_new_extracts",
        "read_new_extracts",
        "read_new_extracts_on_schedule",
        "remake_what_follows",
    }


def test_a_run_that_starts_by_itself_has_limits_and_is_tried_again_where_its_process_died(tmp_path: Path) -> None:
    study = tiny_settings(tmp_path, operation={"max_runtime_hours": 1.5, "retries": 3})
    limits = {
        "dagster/max_runtime": "5400",
        "dagster/max_retries": "3",
        "dagster/retry_on_asset_or_op_failure": "false",
        "dagster/retry_strategy": "FROM_FAILURE",
    }
    definitions = build(study)
    assert limits.items() <= definitions.resolve_job_def("read_extract").tags.items()
    follows = definitions.resolve_sensor_def("remake_what_follows")
    assert isinstance(follows, dg.AutomationConditionSensorDefinition)
    assert limits.items() <= follows.run_tags.items()
    configured = yaml.safe_load((Path(__file__).parents[2] / "dagster.yaml").read_text())
    assert configured["run_retries"] == {"enabled": True, "max_retries": 0, "retry_on_asset_or_op_failure": False}


def test_a_backfill_of_extracts_is_one_run() -> None:
    raw_records = build_assets(settings.load(shipped("demo/settings.toml")))[0]
    assert raw_records.backfill_policy == dg.BackfillPolicy.single_run()
    assert raw_records.op.pool == "reading"
