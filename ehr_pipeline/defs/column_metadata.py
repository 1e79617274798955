"""Describe the table columns that Dagster shows, with their lineage. Columns come from the schemas that the checks enforce."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.assets.results import WIDTH
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import RAW_RECORDS

MEANING = {
    "patient_id": "The id of the patient in the source.",
    "date": "The day of the event.",
    "code": "The code as recorded in the source.",
    "concept": "UMLS concept (CUI), or the code itself if it has none and is kept.",
    "visits": (
        "patient_dataset: the days of the record in order, each with its concepts as token ids; clusters: the"
        " number of days."
    ),
    "birth_date": "Date of birth. If only the month is known, the 15th; if only the year, 1 July.",
    "birth_precision": "Precision of the birth date: day, month or year.",
    "sex": "M or F, translated by sex_values in the settings; empty if unknown.",
    "side": "train, validation, test, or unassigned; patients of the last two are not used for training.",
    "shard": "File of the patient data set that holds the patient.",
    "row": "Row in that file.",
    "disease": "The disease of interest that was recorded on most days.",
    "diseases": "All diseases of interest of the patient.",
    "first_date": "cohort: the first day with the disease; patient_trajectories: the first day of the window.",
    "last_date": "The last day of the window with a visit.",
    "vector": "The vector, single precision; `dimensions` of patient_embeddings gives its width.",
    "chunks": "Number of chunks into which the record was cut for the encoder.",
    "tokens": "Number of tokens that were pooled.",
    "window": "Number of the window of time, from 0.",
    "cluster": "The number of the cluster.",
    "cluster_baseline": "The cluster by the baseline, which uses no model.",
    "stability": (
        "Share of random halves of the patients in which the patient stays in the cluster; empty if the patient was in no half."
    ),
    "assigned": "Whether the patient was assigned to an existing cluster instead of being clustered.",
    "vector_hash": "Hash of the vector, used to notice changes.",
    "age": "Age at the last visit, in whole years.",
    "mean_age": "Mean age over the record, in years.",
    "concepts": "Number of concepts in the record, each counted once per visit.",
    "extract": "Name of the extract: its folder.",
    "data_version": "Hash of everything that was read from the extract.",
    "scope": "Whether neighbours were searched among the concepts of interest or in the whole vocabulary.",
    "rank": "1 is the nearest.",
    "neighbour": "A UMLS concept with a similar vector.",
    "neighbour_name": "Its preferred name.",
    "cosine": "Cosine similarity of the two input vectors.",
    "support": "Share of the nearest neighbours that agree on the cluster.",
    "x": "Position on the map.",
    "y": "Position on the map.",
    "token_id": "Integer id that the encoder reads; ids are only ever appended.",
    "name": "Preferred name of the concept.",
    "semantic_types": "UMLS semantic types.",
    "untyped": "Whether UMLS gives it no semantic type.",
    "events": "Number of events with the concept.",
    "appearances": "Number of visits (patient and day) with the concept.",
    "patients": "Number of patients with the concept.",
    "observation_start": "First day of the patient's observation period; empty if unknown.",
    "observation_end": "Last day of the patient's observation period; empty if unknown.",
    "death_date": "Day of death; empty if no death is recorded.",
}
"""The meaning of a column, in every table. A study's attributes have other names, and are described by `ATTRIBUTE`."""
ATTRIBUTE = "An attribute listed in the settings."
_METHOD = "The cluster by another method."
_SECOND = "In the table of patients: "


def column_metadata(asset: str, study: Study) -> dict[str, Any]:
    """Return the `dagster/column_schema` metadata of an asset; empty for assets without a table."""
    if ASSETS[asset].columns is None:
        return {}
    return {"dagster/column_schema": dg.TableSchema([dg.TableColumn(*each) for each in meanings(asset, study)])}


def meanings(asset: str, study: Study) -> Iterator[tuple[str, str, str]]:
    """Yield name, type and meaning of each column of an asset that has a table."""
    declared = ASSETS[asset]
    assert declared.columns is not None
    others = {f"cluster_{method}": _METHOD for method in study.clusters.others}
    meaning, second = {**MEANING, **declared.meanings, **others}, asset == RAW_RECORDS
    for field in declared.columns(study):
        where = _SECOND if second and field.name not in schemas.RAW_EVENTS.names else ""
        kind = str(field.type).removesuffix(f"[{WIDTH}]")
        yield field.name, kind, where + meaning.get(field.name, ATTRIBUTE)


def lineage_metadata(asset: str, study: Study) -> dict[str, Any]:
    """Return the `dagster/column_lineage` metadata of an asset; empty for assets without a table."""
    deps = {
        column: [dg.TableColumnDep(dg.AssetKey(source), name) for source, name in sources]
        for column, sources in ASSETS[asset].lineage(study).items()
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(deps)} if deps else {}
