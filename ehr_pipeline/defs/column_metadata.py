"""The table columns that Dagster shows, with their lineage. Columns come from the schemas that the checks enforce."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.assets.results import WIDTH
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import RAW_RECORDS

MEANING = {
    "patient_id": "Whose row it is, as the source names the patient.",
    "date": "The day of the event.",
    "code": "The code as the source has it.",
    "concept": "UMLS concept (CUI), or the code itself where it has none and is kept.",
    "visits": "Days in order, each with its concepts as token ids (patient_dataset); how many there are (clusters).",
    "birth_date": "Known to the month: the 15th; to the year: 1 July.",
    "birth_precision": "How far the birth date is known: day, month or year.",
    "sex": "M or F, or what the settings say of a value (sex_values); empty: not known.",
    "side": "train, validation, test, or unassigned: nothing is learned from the last two.",
    "shard": "File of the patient data set in which the patient is.",
    "row": "Row in that file.",
    "disease": "The disease of interest that was recorded on most days.",
    "diseases": "All diseases of interest of the patient.",
    "first_date": "The first day: of the disease (cohort), of the window (patient_trajectories).",
    "last_date": "The last day of the window with a visit.",
    "vector": "The vector, single precision; its width is the number `dimensions` of patient_embeddings.",
    "chunks": "Into how many pieces the record was cut for the encoder.",
    "tokens": "How many tokens were pooled.",
    "window": "Number of the window of time, from 0.",
    "cluster": "The number of the cluster.",
    "cluster_baseline": "The cluster among those of the baseline without a model.",
    "stability": "How often the patient stays with its cluster in random halves; empty: was in none.",
    "assigned": "Whether it was assigned to a cluster that there was, and not clustered itself.",
    "vector_hash": "By which a changed vector is known.",
    "age": "Whole years at the last visit.",
    "mean_age": "Years, mean over the record.",
    "concepts": "How many concepts the record holds, once for each visit.",
    "extract": "Name of the extract: its folder.",
    "data_version": "Hash of all that was read of it.",
    "scope": "Among the concepts of interest, or the whole vocabulary.",
    "rank": "1 is the nearest.",
    "neighbour": "UMLS concept that is near.",
    "neighbour_name": "Its preferred name.",
    "cosine": "Cosine similarity of the two input vectors.",
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
    "death_date": "The day of death; empty: no death is known.",
}
"""The meaning of a column, in every table. A study's attributes have other names, and are described by `ATTRIBUTE`."""
ATTRIBUTE = "An attribute that the settings carry along."
_METHOD = "The cluster by another method."
_SECOND = "In the table of patients: "


def column_metadata(asset: str, study: Study) -> dict[str, Any]:
    """The `dagster/column_schema` metadata of an asset; empty for assets without a table."""
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
    """The `dagster/column_lineage` metadata of an asset; empty for assets without a table."""
    deps = {
        column: [dg.TableColumnDep(dg.AssetKey(source), name) for source, name in sources]
        for column, sources in ASSETS[asset].lineage(study).items()
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(deps)} if deps else {}
