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
MEANING = {
    "patient_id": "Whose row it is, as the source names the patient.",
    "date": "The day of the event.",
    "code": "The code as the source has it.",
    "concept": "UMLS concept (CUI), or the code itself where it has none and is kept.",
    "visits": "Days in order, each with its concepts as token ids.",
    "birth_date": "Known to the month: the 15th; to the year: 1 July.",
    "birth_precision": "How far the birth date is known: day, month or year.",
    "sex": "As the source tells it.",
    "side": "train or validation.",
    "shard": "File of the patient data set in which the patient is.",
    "row": "Row in that file.",
    "disease": "The disease of interest that was recorded on most days.",
    "diseases": "All diseases of interest of the patient.",
    "first_date": "The first day: of the disease (cohort), of the window (patient_trajectories).",
    "last_date": "The last day of the window with a visit.",
    "vector": "The vector, single precision.",
    "chunks": "Into how many pieces the record was cut for the encoder.",
    "tokens": "How many tokens were pooled.",
    "window": "Number of the window of time, from 0.",
    "cluster": "The cluster.",
    "support": "Share of the nearest neighbours that agree on the cluster.",
    "x": "Place on the map.",
    "y": "Place on the map.",
    "token_id": "What the encoder reads; ids are only ever appended.",
    "name": "Preferred name of the concept.",
    "semantic_types": "UMLS semantic types.",
    "untyped": "Whether UMLS gives it no semantic type.",
    "events": "In how many events it occurs.",
    "appearances": "On how many days of how many patients it occurs, counted together.",
    "patients": "How many patients have it.",
    "observation_start": "The first day on which the patient was observed; empty: not known.",
    "observation_end": "The last day on which the patient was observed; empty: not known.",
}
"""What a column holds, wherever it occurs. Attributes that a study carries have names of their own, and are told as such."""
ATTRIBUTE = "An attribute that the settings carry along."
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
    columns = [
        dg.TableColumn(field.name, str(field.type), MEANING.get(field.name, ATTRIBUTE)) for field in tables[asset]
    ]
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
