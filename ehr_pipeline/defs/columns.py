"""Columns of the tables, and where they come from, as Dagster shows them. From the same schemas that the checks enforce."""

from typing import Any

import dagster as dg
import pyarrow as pa

from ehr_pipeline import schemas
from ehr_pipeline.settings import Study

# asset: column: the columns that decide it.
LINEAGE: dict[str, dict[str, list[tuple[str, str]]]] = {
    "mapped_events": {
        "patient_id": [("raw_records", "patient_id")],
        "date": [("raw_records", "date")],
        "concept": [("raw_records", "code")],
    },
    "vocabulary": {"concept": [("mapped_events", "concept")]},
    "patient_dataset": {
        "patient_id": [("mapped_events", "patient_id")],
        "visits": [("mapped_events", "date"), ("mapped_events", "concept"), ("vocabulary", "token_id")],
    },
    "data_split": {"side": [("patient_dataset", "patient_id")]},
    "cohort": {
        "patient_id": [("patient_dataset", "patient_id")],
        "disease": [("mapped_events", "concept")],
        "diseases": [("mapped_events", "concept")],
        "first_date": [("mapped_events", "date")],
    },
    "patient_embeddings": {"patient_id": [("cohort", "patient_id")], "vector": [("patient_dataset", "visits")]},
    "patient_trajectories": {
        "patient_id": [("cohort", "patient_id")],
        "vector": [("patient_dataset", "visits")],
        "cluster": [("patient_embeddings", "vector")],
    },
}
VOCABULARY = ("token_id", "concept", "name", "semantic_types", "untyped", "events", "appearances", "patients")


def column_metadata(asset: str, study: Study) -> dict[str, Any]:
    """`dagster/column_schema` of an asset; nothing for assets that are no table."""
    tables = {
        "raw_records": schemas.RAW_EVENTS,
        "mapped_events": schemas.MAPPED_EVENTS,
        "patient_dataset": schemas.patient_dataset(study.attributes),
        "data_split": schemas.SPLIT,
        "cohort": schemas.COHORT,
        "patient_embeddings": schemas.embeddings(study.encoder.hidden_size),
        "patient_trajectories": schemas.trajectories(study.encoder.hidden_size),
        "vocabulary": pa.schema([(name, pa.string()) for name in VOCABULARY]),
    }
    if asset not in tables:
        return {}
    columns = [dg.TableColumn(field.name, str(field.type)) for field in tables[asset]]
    return {"dagster/column_schema": dg.TableSchema(columns)}


def lineage_metadata(asset: str) -> dict[str, Any]:
    """`dagster/column_lineage` of an asset; nothing where it is not known."""
    if asset not in LINEAGE:
        return {}
    deps = {
        column: [dg.TableColumnDep(dg.AssetKey(source), name) for source, name in sources]
        for column, sources in LINEAGE[asset].items()
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(deps)}
