from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from dagster._core.definitions.assets.graph.asset_graph import AssetGraph

from ehr_pipeline.assets import ASSETS, of_study
from ehr_pipeline.clusters.settings import ClustersSettings
from ehr_pipeline.defs.build_definitions import build
from ehr_pipeline.errors import SettingsError
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.study.settings import Study, merged
from ehr_pipeline.synthetic.study import WITHOUT_TASKS
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline.terminology.shipped import shipped

GRAPH = {
    "raw_records": set(),
    "extract_catalog": {"raw_records"},
    "mapped_events": {"extract_catalog"},
    "vocabulary": {"mapped_events"},
    "patient_dataset": {"extract_catalog", "mapped_events", "vocabulary"},
    "data_split": {"patient_dataset"},
    "task_labels": {"extract_catalog", "mapped_events", "vocabulary", "patient_dataset", "data_split"},
    "encoder_checkpoint": {"vocabulary", "patient_dataset", "data_split"},
    "concept_embeddings": {"encoder_checkpoint", "vocabulary", "mapped_events"},
    "cohort": {"mapped_events", "patient_dataset"},
    "patient_embeddings": {
        "patient_dataset",
        "cohort",
        "encoder_checkpoint",
        "concept_embeddings",
        "vocabulary",
        "mapped_events",
    },
    "concept_relations": {"encoder_checkpoint", "vocabulary", "mapped_events", "patient_dataset"},
    "clusters": {"patient_dataset", "cohort", "patient_embeddings", "vocabulary"},
    "patient_trajectories": {
        "patient_dataset",
        "cohort",
        "encoder_checkpoint",
        "patient_embeddings",
        "clusters",
        "vocabulary",
    },
    "cluster_reports": set(STAGES)
    - {"raw_records", "task_labels", "cluster_reports", "task_results", "forecasts", "prediction_report"},
    "task_results": {"vocabulary", "patient_dataset", "task_labels", "encoder_checkpoint"},
    "forecasts": {"vocabulary", "patient_dataset", "data_split", "encoder_checkpoint"},
    "prediction_report": {"vocabulary", "data_split", "forecasts", "task_labels", "task_results"},
}


@pytest.fixture(scope="module")
def graph() -> AssetGraph:
    return build(settings.load(shipped("demo/settings.toml"))).resolve_asset_graph()


def test_the_graph(graph: AssetGraph) -> None:
    found = {
        node.key.to_user_string(): {parent.to_user_string() for parent in node.parent_keys}
        for node in graph.asset_nodes
    }
    assert found == GRAPH


def test_what_an_asset_reads_is_what_dagster_is_told(tiny: Pipeline) -> None:
    """The inputs in the manifests are the dependencies of the graph: otherwise staleness would not be true."""
    for asset, parents in GRAPH.items():
        if asset not in ("raw_records", "extract_catalog"):
            inputs = {name for name in tiny.store.current(asset).manifest["inputs"] if name in STAGES}
            assert inputs == parents, asset


def test_every_asset_reads_well_in_the_ui(graph: AssetGraph) -> None:
    for node in graph.asset_nodes:
        assert node.description, node.key
        assert "Settings: `[" in node.description, node.key
        room = node.description.rpartition("Code: `")[2].removesuffix("`.")
        assert node.key.to_user_string() in import_module(room).COUNTED, "where the code is, its counts are declared"
        assert node.group_name not in STAGES, "no name stands for a group and an asset"
        assert node.kinds
        assert node.tags["ehr_pipeline/class"] in ("restricted", "releasable")


def test_groups_sort_in_the_order_of_the_flow(graph: AssetGraph) -> None:
    """Dagster's sidebar sorts them by alphabet. An asset reads none of a later group, but for labels, which come before."""
    order = [graph.get(key).group_name for key in graph.toposorted_asset_keys]
    groups = list(dict.fromkeys(order))
    assert sorted(groups) == ["data", "encoder", "patients", "predictions", "reports"]
    for node in graph.asset_nodes:
        for parent in node.parent_keys:
            assert graph.get(parent).group_name <= node.group_name, (parent, node.key)


def test_owners_are_those_of_the_settings() -> None:
    study = settings.load(shipped("demo/settings.toml"), {"operation": {"owners": ["team:dermatology", "a@b.org"]}})
    assert {tuple(node.owners) for node in build(study).resolve_asset_graph().asset_nodes} == {
        ("team:dermatology", "a@b.org")
    }
    with pytest.raises(SettingsError, match="owners are e-mail addresses"):
        settings.load(shipped("demo/settings.toml"), {"operation": {"owners": ["somebody"]}})


def test_jobs_say_what_they_make() -> None:
    study = settings.load(shipped("demo/settings.toml"))
    without = settings.load(shipped("demo/settings.toml"), {"embeddings": {"cohort": []}})
    for loaded in (study, without):
        definitions = build(loaded)
        made = {
            name: {key.to_user_string() for key in definitions.resolve_job_def(name).asset_layer.selected_asset_keys}
            for name in ("whole_study", "new_extract", "read_extract")
        }
        assert made["new_extract"] == set(of_study(loaded))
        assert made["whole_study"] == set(of_study(loaded)) - {"raw_records"}, "its first step reads the extracts"
        assert made["read_extract"] == {"raw_records"}
        assert definitions.resolve_job_def("whole_study").partitions_def is None, "there is nothing to choose"


def fields_of(config: Any) -> dict[str, Any]:
    return dict(config.config_type.fields)


def test_overrides_are_typed_fields_with_the_texts_of_the_settings() -> None:
    job = build(settings.load(shipped("demo/settings.toml"))).resolve_job_def("__ASSET_JOB")
    place = fields_of(job.run_config_schema.config_type.fields["resources"])["pipeline"]  # type: ignore[attr-defined]
    sections = fields_of(fields_of(fields_of(place)["config"])["overrides"])
    assert set(sections) == {field.name for field in fields(Study)} - {"study", "operation", "governance"}
    resamples = fields_of(sections["clusters"])["resamples"]
    own = next(field for field in fields(ClustersSettings) if field.name == "resamples")
    assert resamples.description == own.metadata["description"]
    assert resamples.config_type.given_name == "Int"
    assert not resamples.is_required


def test_no_value_is_pickled() -> None:
    definitions = build(settings.load(shipped("demo/settings.toml")))
    manager = definitions.resolve_job_def("whole_study").resource_defs["io_manager"]
    assert "Not used" in str(manager.description)


def test_the_launchpad_has_one_field() -> None:
    job = build(settings.load(shipped("demo/settings.toml"))).resolve_job_def("__ASSET_JOB")
    resources = job.run_config_schema.config_type.fields["resources"].config_type.fields  # type: ignore[attr-defined]
    shown = {name: field.default_value for name, field in resources.items() if field.default_provided}
    assert {name: value for name, value in shown.items() if value.get("config")} == {
        "pipeline": {"config": {"overrides": {}}}
    }


def test_raw_records_are_partitioned_by_extract_and_nothing_else_is(graph: AssetGraph) -> None:
    partitioned = {node.key.to_user_string() for node in graph.asset_nodes if node.is_partitioned}
    assert partitioned == {"raw_records"}


def test_every_asset_has_its_checks(graph: AssetGraph) -> None:
    found: dict[str, set[str]] = {}
    for key in graph.asset_check_keys:
        found.setdefault(key.asset_key.to_user_string(), set()).add(key.name)
    study = settings.load(shipped("demo/settings.toml"))
    assert found == {
        asset: {check.name for check in declared.all_checks if check.applies(study)}
        for asset, declared in ASSETS.items()
    }


CHANGES: list[tuple[dict[str, Any], set[str]]] = [
    ({"study": {"name": "another"}}, {"cluster_reports", "prediction_report"}),
    (
        {"study": {"seed": 1}},
        {
            "encoder_checkpoint",
            "concept_embeddings",
            "concept_relations",
            "patient_embeddings",
            "clusters",
            "patient_trajectories",
            "cluster_reports",
        },
    ),
    ({"records": {"sentinel_dates": ["1900-01-01"]}}, {"raw_records"}),
    ({"records": {"workers": 2, "block_megabytes": 1}}, set()),
    ({"events": {"unmapped": "keep"}}, {"mapped_events"}),
    ({"events": {"coverage_floor": 0.1}}, set()),
    ({"vocabulary": {"min_appearances": 5}}, {"vocabulary"}),
    ({"patients": {"min_visits": 5}}, {"patient_dataset"}),
    ({"patients": {"split": {"validation_share": 0.3}}}, {"data_split"}),
    ({"encoder": {"learning_rate": 0.5}}, {"encoder_checkpoint"}),
    (
        {"encoder": {"context": 128}},
        {"encoder_checkpoint", "patient_embeddings", "patient_trajectories"},
    ),
    ({"encoder": {"preset": "demo", "layers": 2}}, set()),  # what the preset says anyway
    ({"encoder": {"on_new_extract": "retrain"}}, {"encoder_checkpoint", "patient_embeddings", "clusters"}),
    ({"launcher": {"processes": 2, "backend": "slurm"}}, set()),
    ({"concepts": {"neighbours": 5}}, {"concept_embeddings"}),
    ({"relations": {"after_days": 365}}, {"concept_relations"}),
    ({"embeddings": {"pooling": {"select": "all"}}}, {"patient_embeddings"}),
    ({"embeddings": {"batch_tokens": 512}}, set()),
    ({"embeddings": {"cohort": [{"name": "Psoriasis", "concepts": str(shipped("lists/psoriasis.csv"))}]}}, {"cohort"}),
    ({"clusters": {"n": 5}}, {"clusters"}),
    ({"trajectories": {"years": 2.0}}, {"patient_trajectories"}),
    ({"reports": {"title": "another"}}, {"cluster_reports"}),
    ({"governance": {"licence": "another", "round_to": 5}}, {"cluster_reports", "prediction_report"}),
    ({"tasks": {"screen": 5}}, {"task_labels", "task_results"}),
    ({"predictions": {"labels": [50], "batch_tokens": 512}}, {"task_results"}),
    ({"forecasts": {"min_visits": 3}}, {"forecasts"}),
    ({"operation": {"watch": "sensor", "quiet_minutes": 1}}, set()),
]


def test_a_change_is_tried_in_every_section() -> None:
    assert {section for change, _ in CHANGES for section in change} == {field.name for field in fields(Study)}


@pytest.mark.parametrize(("change", "stale"), CHANGES)
def test_a_changed_setting_makes_stale_just_what_depends_on_it(change: dict[str, Any], stale: set[str]) -> None:
    before = Pipeline(settings.load(shipped("demo/settings.toml"), WITHOUT_TASKS))
    after = Pipeline(settings.load(shipped("demo/settings.toml"), merged(WITHOUT_TASKS, change)))
    assert {asset for asset in STAGES if before.code_version(asset) != after.code_version(asset)} == stale


def test_an_edited_list_makes_stale_what_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("code,cui,name,source\n1,,x,x\n")
    study = settings.load(shipped("demo/settings.toml"), {"vocabulary": {"administrative_concepts": str(path)}})
    before = {asset: Pipeline(study).code_version(asset) for asset in STAGES}
    path.write_text("code,cui,name,source\n2,,x,x\n")
    after = {asset: Pipeline(study).code_version(asset) for asset in STAGES}
    assert {asset for asset in STAGES if before[asset] != after[asset]} == {"vocabulary"}


def test_the_code_version_is_that_of_the_definitions(graph: AssetGraph) -> None:
    pipeline = Pipeline(settings.load(shipped("demo/settings.toml")))
    for node in graph.asset_nodes:
        assert node.code_version == pipeline.code_version(node.key.to_user_string())


def test_the_checks_on_truth_are_for_synthetic_studies_only() -> None:
    study = settings.load(shipped("demo/settings.toml"))
    real = replace(study, clusters=replace(study.clusters, truth=""))
    names = {key.name for key in build(real).resolve_asset_graph().asset_check_keys}
    assert "planted_groups" not in names
    assert "evidence_of_subgroups" in names
