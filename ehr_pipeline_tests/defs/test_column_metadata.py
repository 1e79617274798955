"""Columns as Dagster shows them are those of the files, and every column says from which columns it comes."""

import csv
import dataclasses
import re

import pyarrow as pa
import pytest

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.defs.build_definitions import build
from ehr_pipeline.defs.column_metadata import ATTRIBUTE, MEANING, column_metadata
from ehr_pipeline.patients.settings import DerivedAttribute
from ehr_pipeline.runs.pipeline import Pipeline
from ehr_pipeline.study import settings
from ehr_pipeline.synthetic.generate import EXTRACT
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import STAGES
from ehr_pipeline.terminology.shipped import shipped

NO_TABLE = {"encoder_checkpoint", "cluster_reports", "prediction_report"}
FOLDERS = {
    "raw_records": ("events", "patients"),
    "mapped_events": ("events",),
    "patient_dataset": ("patients",),
    "data_split": ("split",),
    "patient_embeddings": ("embeddings",),
    "patient_trajectories": ("trajectories",),
}
FILES = {"cohort": "cohort.arrow", "clusters": "clusters.arrow"}
OF_NO_COLUMN = {
    "extract_catalog": {"extract"},
    "concept_embeddings": {"scope"},
    "concept_relations": {"direction", "measure"},
    "task_labels": {"task"},
    "task_results": {"task", "model", "labels", "replicate"},
    "forecasts": {"horizon", "list", "model", "measure"},
}
"""Names of folders, and of settings, models and samples."""


def tables(study: settings.Study) -> dict[str, pa.Schema]:
    """The columns of every asset that has a table."""
    return {name: asset.columns(study) for name, asset in ASSETS.items() if asset.columns}


def shown(study: settings.Study) -> dict[str, dict[str, str]]:
    """Types of the columns, by asset and name."""
    definitions = build(study).resolve_asset_graph()
    return {
        node.key.to_user_string(): {
            column.name: column.type for column in node.metadata["dagster/column_schema"].columns
        }
        for node in definitions.asset_nodes
        if "dagster/column_schema" in node.metadata
    }


def of_files(pipeline: Pipeline, asset: str) -> dict[str, str]:
    """The columns of an artifact's files, without the width of vectors, which follows from the data."""
    artifact = pipeline.store.current(asset, EXTRACT if asset == "raw_records" else None)
    paths = [artifact.files(folder)[0] for folder in FOLDERS.get(asset, ())] or [artifact.file(FILES[asset])]
    fields: list[pa.Field] = [field for path in paths for field in schemas.read(path).schema]
    return {field.name: re.sub(r"\[\d+\]$", "", str(field.type)) for field in reversed(fields)}


def test_columns_are_those_of_the_files(tiny: Pipeline) -> None:
    told = shown(tiny.study)
    assert set(told) == set(STAGES) - NO_TABLE
    for asset in (*FOLDERS, *FILES):
        assert told[asset] == of_files(tiny, asset), asset
    for asset, name in {"vocabulary": "vocabulary.csv", "concept_embeddings": "neighbours.csv"}.items():
        with tiny.store.current(asset).file(name).open(encoding="utf-8", newline="") as stream:
            assert list(told[asset]) == next(csv.reader(stream)), asset


def test_every_column_says_what_it_holds(tiny: Pipeline) -> None:
    own = {*tiny.study.attributes, *(f"cluster_{method}" for method in tiny.study.clusters.others)}
    for asset, table in tables(tiny.study).items():
        assert set(table.names) <= {*MEANING, *ASSETS[asset].meanings} | own, asset
        described = {c.name: c.description for c in column_metadata(asset, tiny.study)["dagster/column_schema"].columns}
        assert all(described.values())
        assert {name for name, told in described.items() if told == ATTRIBUTE} <= own


@pytest.mark.parametrize("asset", sorted(set(STAGES) - NO_TABLE - {"raw_records"}))
def test_every_column_says_where_it_comes_from(tiny: Pipeline, asset: str) -> None:
    told = tables(tiny.study)
    found = ASSETS[asset].lineage(tiny.study)
    assert set(found) == set(told[asset].names) - OF_NO_COLUMN.get(asset, set())
    for column, sources in found.items():
        assert sources, column
        for source, name in sources:
            assert name in told[source].names, f"{column} comes from {source}.{name}"
            assert list(STAGES).index(source) < list(STAGES).index(asset), f"{column} comes from {source}, made later"


def test_an_attribute_that_is_read_off_codes_says_so() -> None:
    study = settings.load(shipped("demo/settings.toml"))
    derived = {name: DerivedAttribute(codes="x.csv") for name in ("ethnicity", "smoking")}
    study = dataclasses.replace(study, patients=dataclasses.replace(study.patients, derived=derived))
    assert "ethnicity" in study.records.attributes
    found = ASSETS["patient_dataset"].lineage(study)
    assert found["smoking"] == (("raw_records", "code"), ("raw_records", "date"))
    assert found["ethnicity"] == (("raw_records", "ethnicity"), *found["smoking"])
    assert ASSETS["clusters"].lineage(study)["smoking"] == (("patient_dataset", "smoking"),)
