"""The settings of a run, and what Dagster shows as stale: over the whole graph, made through Dagster once."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.asset_graph_view.asset_graph_view import AssetGraphView
from dagster._core.definitions.data_version import CachingStaleStatusResolver, StaleStatus
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run

from ehr_pipeline.defs import study as studies
from ehr_pipeline.defs.build_definitions import build
from ehr_pipeline.errors import SettingsError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import Study, merged
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline.terminology.shipped import shipped
from ehr_pipeline_tests.conftest import tiny_settings
from ehr_pipeline_tests.defs.test_definitions import CHANGES, GRAPH


class Made:
    """The tiny study as it stands in a Dagster instance of its own."""

    def __init__(self, extract: Path, folder: Path, instance: dg.DagsterInstance):
        self.extract, self.instance = extract, instance
        self.lists = folder / "lists"
        self.own = {
            "study": {"store": str(folder / "store")},
            "vocabulary": {"administrative_concepts": str(self.lists / "administrative.csv")},
        }

    def study(self, change: dict[str, Any] | None = None) -> Study:
        return tiny_settings(self.extract, **merged(self.own, change or {}))

    def run(self, study: Study, *assets: str, overrides: dict[str, Any] | None = None) -> dg.ExecuteInProcessResult:
        """One run of some assets."""
        job = dg.define_asset_job("some", selection=dg.AssetSelection.assets(*assets))
        resolved = dg.Definitions.merge(build(study), dg.Definitions(jobs=[job])).resolve_job_def("some")
        return resolved.execute_in_process(
            instance=self.instance,
            partition_key=EXTRACT if assets == ("raw_records",) else None,
            run_config={"resources": {"pipeline": {"config": {"overrides": overrides}}}} if overrides else None,
            raise_on_error=False,
        )

    def stale(self, study: Study) -> dict[str, list[str]]:
        """The assets that Dagster shows as stale, each with the reasons."""
        definitions = build(study)
        view = AssetGraphView.for_test(definitions, self.instance)
        resolver = CachingStaleStatusResolver(self.instance, definitions.resolve_asset_graph(), view)
        found = {}
        for asset in STAGES:
            partition = EXTRACT if asset == "raw_records" else None
            if resolver.get_status(dg.AssetKey(asset), partition) == StaleStatus.STALE:
                causes = resolver.get_stale_causes(dg.AssetKey(asset), partition)
                found[asset] = [cause.reason for cause in causes]
        return found


@pytest.fixture(scope="module")
def made(tiny: Pipeline, extract: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    folder = tmp_path_factory.mktemp("made")
    shutil.copytree(tiny.store.root, folder / "store")
    shutil.copytree(shipped("lists"), folder / "lists")
    with dg.instance_for_test(temp_dir=str(tmp_path_factory.mktemp("home"))) as instance:
        instance.add_dynamic_partitions("extract", [EXTRACT])
        found = Made(extract, folder, instance)
        assert found.run(found.study(), "raw_records").success
        assert found.run(found.study(), *[asset for asset in STAGES if asset != "raw_records"]).success
        yield found


def test_nothing_is_stale_when_nothing_changed(made: Made) -> None:
    assert made.stale(made.study()) == {}


@pytest.mark.parametrize("section", [field.name for field in fields(Study)])
def test_a_section_that_is_written_out_as_it_is_makes_nothing_stale(made: Made, section: str) -> None:
    assert made.stale(made.study({section: asdict(made.study())[section]})) == {}


@pytest.mark.parametrize(("change", "expected"), CHANGES)
def test_what_dagster_shows_as_stale_after_a_change(made: Made, change: dict[str, Any], expected: set[str]) -> None:
    """By their own code version those that depend on the setting, and for no reason of their own nothing else."""
    tiny_change = {key: value for key, value in change.items() if "preset" not in value}
    before, after = made.study(), made.study(tiny_change)
    told = made.stale(after)
    assert {asset for asset, causes in told.items() if "has a new code version" in causes} == (
        expected if tiny_change else set()
    )
    changed = {asset for asset in STAGES if Pipeline(before).code_version(asset) != Pipeline(after).code_version(asset)}
    assert set(told) >= changed


@pytest.mark.parametrize("asset", [asset for asset in STAGES if asset != "raw_records"])
def test_new_data_of_an_asset_make_stale_what_reads_it_and_nothing_else(made: Made, asset: str) -> None:
    """No edge of the graph may be left out: without it, what reads the asset would seem to be up to date."""
    event = made.instance.get_latest_materialization_event(dg.AssetKey(asset))
    assert event is not None
    assert event.asset_materialization is not None
    before = event.asset_materialization
    assert before.tags
    try:
        tags = dict(before.tags) | {"dagster/data_version": "new"}
        made.instance.report_runless_asset_event(dg.AssetMaterialization(asset, tags=tags))
        assert set(made.stale(made.study())) == {name for name, parents in GRAPH.items() if asset in parents}
    finally:
        made.instance.report_runless_asset_event(dg.AssetMaterialization(asset, tags=before.tags))
    assert made.stale(made.study()) == {}


def test_the_whole_study_is_one_run_without_a_partition(made: Made) -> None:
    """Its catalog reads the extracts; Dagster knows of them, and of their checks, as if each had been read by itself."""
    job = build(made.study()).resolve_job_def("whole_study")
    assert job.execute_in_process(instance=made.instance).success
    records = made.instance.fetch_materializations(dg.AssetRecordsFilter(dg.AssetKey("raw_records")), limit=1).records
    materialization = records[0].asset_materialization
    assert materialization is not None
    assert materialization.partition == EXTRACT
    store = Pipeline(made.study()).store
    assert (materialization.tags or {})["dagster/data_version"] == store.current("raw_records", EXTRACT).data_version
    assert materialization.metadata["skipped"].value is True
    assert made.stale(made.study()) == {}
    with dg.instance_for_test() as fresh:  # in which nothing has been read
        catalog = dg.AssetKey("extract_catalog")
        assert job.execute_in_process(instance=fresh, asset_selection=[catalog]).success
        assert "extract_catalog" not in Made(made.extract, made.lists.parent, fresh).stale(made.study())
    key = dg.AssetCheckKey(dg.AssetKey("raw_records"), "rows_conserved")
    summary = made.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])
    assert summary[key].status.value == "SUCCEEDED"


def test_a_new_extract_makes_stale_what_it_feeds_and_one_without_other_data_nothing(made: Made) -> None:
    event = made.instance.get_latest_materialization_event(dg.AssetKey("raw_records"))
    assert event is not None
    assert event.asset_materialization is not None
    tags = {"dagster/data_version": (event.asset_materialization.tags or {})["dagster/data_version"]}
    made.instance.report_runless_asset_event(dg.AssetMaterialization("raw_records", partition=EXTRACT, tags=tags))
    assert "extract_catalog" not in made.stale(made.study()), "read again, and found the same"
    made.instance.add_dynamic_partitions("extract", ["2030-01-01"])
    try:
        new = dg.AssetMaterialization("raw_records", partition="2030-01-01", tags={"dagster/data_version": "new"})
        made.instance.report_runless_asset_event(new)
        assert "extract_catalog" in made.stale(made.study())
    finally:
        made.instance.delete_dynamic_partition("extract", "2030-01-01")
    assert made.run(made.study(), "raw_records").success
    assert made.stale(made.study()) == {}


def test_a_run_with_overrides_says_so_and_is_stale_until_it_is_made_with_the_file_s_settings(made: Made) -> None:
    other = {"clusters": {"n": 5}}
    result = made.run(made.study(), "clusters", overrides=other)
    assert result.success
    event = result.asset_materializations_for_node("clusters")[0]
    assert event.metadata["overrides"].value == other
    assert event.metadata["skipped"].value is False
    assert Pipeline(made.study()).store.current("clusters").counts["clusters"] == 5
    assert Pipeline(made.study()).store.current("clusters").manifest["settings"]["n"] == 5
    run = made.instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags[studies.OVERRIDDEN] == "true"
    assert run.tags[studies.TAG] == settings.digest(made.study())
    assert made.stale(made.study())["clusters"] == ["has a new code version"]
    again = made.run(made.study(), "clusters")
    assert again.asset_materializations_for_node("clusters")[0].metadata["skipped"].value is True
    assert "overrides" not in again.asset_materializations_for_node("clusters")[0].metadata
    assert made.stale(made.study()) == {}


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"clusters": {"m": 5}}, "clusters.m is not a setting"),
        ({"clusters": {"n": "five"}}, "clusters.n"),
        ({"study": {"store": "/elsewhere"}}, "[study] cannot be overridden for a single run"),
        ({"patients": {"split": {"key": "a secret"}}}, "patients.split.key cannot be overridden for a single run"),
        ({"encoder": {"preset": "demo"}}, "encoder.preset: give the differing settings one by one"),
    ],
)
def test_overrides_are_checked_like_the_file(made: Made, overrides: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as error:
        studies.overridden(made.study(), overrides)
    assert told in str(error.value)
    try:
        result = made.run(made.study(), "clusters", overrides=overrides)
    except dg.DagsterInvalidConfigError:  # Dagster refuses names and types that do not fit before it starts a run
        return
    assert not result.success


def test_a_file_edited_after_the_run_was_asked_for_ends_it_before_it_begins(made: Made) -> None:
    jobs = {}
    for name, study in {"asked": made.study(), "found": made.study({"clusters": {"n": 6}})}.items():
        job = dg.define_asset_job("some", selection=dg.AssetSelection.assets("clusters"))
        jobs[name] = dg.Definitions.merge(build(study), dg.Definitions(jobs=[job])).resolve_job_def("some")
    run = made.instance.create_run_for_job(jobs["asked"])
    result = execute_run(InMemoryJob(jobs["found"]), run, made.instance, raise_on_error=False)
    assert not result.success
    told = [str(entry.dagster_event) for entry in made.instance.all_logs(run.run_id) if entry.dagster_event]
    assert any("The settings were edited after this run was queued" in text for text in told)
    assert Pipeline(made.study()).store.current("clusters").counts["clusters"] == 8
    unchanged = made.instance.create_run_for_job(jobs["asked"])
    assert execute_run(InMemoryJob(jobs["asked"]), unchanged, made.instance).success


def test_a_list_edited_while_a_run_goes_on_is_refused(made: Made) -> None:
    study = made.study()
    pipeline = Pipeline(study)
    at_load = Pipeline(study, {asset: pipeline.code_version(asset) for asset in STAGES})
    path = made.lists / "administrative.csv"
    text = path.read_text()
    path.write_text(text + "999,,edited,test\n")
    try:
        with pytest.raises(ValueError, match="A list in the settings of vocabulary was edited"):
            at_load.vocabulary()
    finally:
        path.write_text(text)
    assert at_load.vocabulary().skipped


def test_so_it_is_in_a_run(made: Made) -> None:
    """The versions that a run must find are those of the moment at which it began."""
    path = made.lists / "administrative.csv"
    text = path.read_text()
    with dg.build_resources({"pipeline": studies.build_study(made.study())}) as resources:
        path.write_text(text + "999,,edited,test\n")
        try:
            with pytest.raises(ValueError, match="A list in the settings of vocabulary was edited"):
                resources.pipeline.vocabulary()  # type: ignore[attr-defined]
        finally:
            path.write_text(text)


def test_the_settings_survive_being_overridden_by_nothing() -> None:
    study = settings.load(shipped("demo/settings.toml"))
    assert settings.with_overrides(study, {}) == study


def test_a_range_of_extracts_is_read_in_one_run(extract: Path, tmp_path: Path) -> None:
    names = ["2019-04-01", "2019-05-01", "2019-06-01"]
    for name in names:
        shutil.copytree(extract / "landing" / EXTRACT, tmp_path / "landing" / name)
    study = tiny_settings(
        extract,
        study={"store": str(tmp_path / "store")},
        records={"landing": str(tmp_path / "landing"), "latest_date": EXTRACT},
    )
    job = dg.define_asset_job("some", selection=dg.AssetSelection.assets("raw_records"))
    resolved = dg.Definitions.merge(build(study), dg.Definitions(jobs=[job])).resolve_job_def("some")
    tags = {"dagster/asset_partition_range_start": names[0], "dagster/asset_partition_range_end": names[1]}
    with dg.instance_for_test() as instance:
        instance.add_dynamic_partitions("extract", names)
        result = resolved.execute_in_process(instance=instance, tags=tags)
    store = Pipeline(study).store
    assert store.partitions("raw_records") == names[:2]
    events = result.asset_materializations_for_node("raw_records")
    assert sorted(event.partition or "" for event in events) == names[:2]
    metadata = events[0].metadata
    assert metadata["extracts_in_this_run"].value == 2
    kept = [store.current("raw_records", name).counts["kept"] for name in names[:2]]
    assert metadata["kept"].value == 10 * round(sum(kept) / 10)
    assert len({(event.tags or {})["dagster/data_version"] for event in events}) == 1
