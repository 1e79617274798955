"""The declarations of the data assets: from the extracts to the data set of patients and its split."""

from typing import Any

import pyarrow as pa

from ehr_pipeline.assets import identity
from ehr_pipeline.assets.asset import Asset, Rate, Sources
from ehr_pipeline.checks import data, drift, letter_case, lists, lost_rows, rows, train_test_sides, withdrawn_patients
from ehr_pipeline.checks.model import Check
from ehr_pipeline.drawing import data_stages
from ehr_pipeline.events import picture as coverage_picture
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import (
    DATA_SPLIT,
    EXTRACT_CATALOG,
    MAPPED_EVENTS,
    PATIENT_DATASET,
    RAW_RECORDS,
    VOCABULARY,
)
from ehr_pipeline.vocabulary import picture as vocabulary_picture

EVENT: Sources = ((MAPPED_EVENTS, "patient_id"), (MAPPED_EVENTS, "date"), (MAPPED_EVENTS, "concept"))
PATIENT: Sources = ((PATIENT_DATASET, "patient_id"),)
_SCALE = "data_scale.py, 10 times the rows"


def _raw_columns(study: Study) -> pa.Schema:
    """Return the columns of the tables of events and of patients, in this order; a column that both have is listed once."""
    patients = schemas.patients(study.records.attributes)
    return pa.schema(
        [*schemas.RAW_EVENTS, *(field for field in patients if field.name not in schemas.RAW_EVENTS.names)]
    )


def _outside_observation(study: Study) -> dict[str, Any]:
    """Return the setting for events outside the observation period, or nothing if it has its default, which keeps them."""
    chosen = study.records.outside_observation
    return {} if chosen == "keep" else {"outside_observation": chosen}


def _dataset_lineage(study: Study) -> dict[str, Sources]:
    """Return the source columns of the data set's columns. A derived attribute fills gaps in the attribute of its name."""
    found: dict[str, Sources] = {
        "patient_id": EVENT[:1],
        **{name: ((RAW_RECORDS, name),) for name in ("birth_date", "birth_precision", "sex")},
        "visits": (*EVENT[1:], (VOCABULARY, "token_id")),
    }
    for name in study.attributes:
        carried = [name] if name in study.records.attributes else []
        derived = ["code", "date"] if name in study.patients.derived else []
        found[name] = tuple((RAW_RECORDS, column) for column in (*carried, *derived))
    return found


DATA = (
    Asset(
        name=RAW_RECORDS,
        description="The rows of one extract as typed columns, in buckets by a hash of the patient id. Rejected rows go "
        "into a quarantine with file, line and reason.\n\n"
        "An extract is a folder in the landing folder (`records.landing`), and a partition of this asset, "
        "registered when the definitions are loaded or by the sensor `register_new_extracts`.",
        reads=(),
        version="14",
        section="records",
        without=("mode",),
        also=(lambda study: {"withdrawals": withdrawn_patients.list_of_withdrawals(study)},),
        checks=(
            rows.rows_conserved,
            rows.schema("events", lambda study: schemas.RAW_EVENTS, of="event "),
            rows.schema(
                "patients", lambda study: schemas.patients(study.records.attributes), "patient_schema", "patient "
            ),
            rows.rows_as_counted("events"),
            data.patients_decodable,
            data.patients_consistent,
            lost_rows.rejected_rows,
            lost_rows.values_understood,
            lost_rows.files_ended,
            lost_rows.tables_joined,
            lost_rows.columns_filled,
        ),
        columns=_raw_columns,
        group="data",
        kinds=("polars", "arrow"),
        rate=Rate(70.1, 3e8, 2, _SCALE, alone=0.64),
    ),
    Asset(
        name=EXTRACT_CATALOG,
        description="All extracts that were read and passed their checks, each with its data version.\n\n"
        "Everything downstream depends on this one asset, because Dagster, when it decides what is stale, ignores a "
        "dependency on 100 or more partitions.",
        reads=(RAW_RECORDS,),
        version="3",
        section="records.mode",
        also=(_outside_observation, identity.sides),
        checks=(rows.rows_conserved, lost_rows.patients_known, train_test_sides.sides_understood),
        columns=lambda study: schemas.CATALOG,
        lineage=lambda study: {"data_version": tuple((RAW_RECORDS, name) for name in ("patient_id", "date", "code"))},
        counts_rows=False,
        group="data",
        kinds=("json",),
    ),
    Asset(
        name=MAPPED_EVENTS,
        description="Events with patient, date and UMLS concept. Each code was mapped, kept as a separate concept,"
        " or counted as lost.",
        reads=(EXTRACT_CATALOG,),
        version="11",
        section="events",
        checks=(
            rows.rows_conserved,
            rows.schema("events", lambda study: schemas.MAPPED_EVENTS),
            rows.rows_as_counted("events"),
            Check(
                "rows_taken_up",
                "Every raw event was either mapped or counted as lost.",
                rows.rows_taken_up(EXTRACT_CATALOG, ""),
            ),
            data.mapping_coverage,
            lists.cohort_recorded,
            letter_case.one_spelling_of_codes,
            letter_case.one_edition_of_icd,
            data.snomed_recognised,
            *(
                drift.compared_with_previous(kind, measure)
                for kind, measure in (
                    ("volume", "events per patient, relative difference"),
                    ("codes", "difference of the code mix (0 to 1)"),
                    ("ages", "years between the mean years of birth"),
                    ("coverage", "difference of the share of events with a concept"),
                )
            ),
        ),
        columns=lambda study: schemas.MAPPED_EVENTS,
        lineage=lambda study: {
            "patient_id": ((RAW_RECORDS, "patient_id"),),
            "date": ((RAW_RECORDS, "date"),),
            "concept": ((RAW_RECORDS, "code"),),
        },
        group="data",
        kinds=("arrow",),
        draw=coverage_picture.draw,
        rate=Rate(13.3, 3e8, 2, _SCALE, alone=0.44),
    ),
    Asset(
        name=VOCABULARY,
        description="The concepts that become tokens, each with token id, name, semantic types and counts; and the"
        " concepts left out, with the reason.",
        reads=(MAPPED_EVENTS,),
        reads_for_sides=(EXTRACT_CATALOG,),
        version="2",
        section="vocabulary",
        also=(identity.sides,),
        checks=(
            rows.rows_conserved,
            Check(
                "rows_taken_up",
                "The concepts of every mapped event were counted.",
                rows.rows_taken_up(MAPPED_EVENTS, "events"),
            ),
            data.semantic_types_known,
            data.vocabulary_size,
            data.concepts_of_many_patients,
            data.lists_understood,
            train_test_sides.test_side_unseen,
        ),
        columns=lambda study: schemas.VOCABULARY,
        lineage=lambda study: {
            **dict.fromkeys(("token_id", "concept", "name", "semantic_types", "untyped", "events"), EVENT[2:]),
            "appearances": EVENT,
            "patients": (EVENT[0], EVENT[2]),
        },
        group="data",
        kinds=("csv",),
        draw=vocabulary_picture.draw,
        rate=Rate(1.7, 3e8, 2, _SCALE),
    ),
    Asset(
        name=PATIENT_DATASET,
        description="One row for each patient: visits as lists of concepts, in Arrow.",
        reads=(EXTRACT_CATALOG, MAPPED_EVENTS, VOCABULARY),
        version="3",
        section="patients",
        without=("split",),
        checks=(
            rows.rows_conserved,
            rows.schema("patients", lambda study: schemas.patient_dataset(study.attributes)),
            Check(
                "rows_taken_up",
                "Every mapped event reached the data set or was counted as left out.",
                rows.rows_taken_up(MAPPED_EVENTS, ""),
            ),
            rows.rows_as_counted("patients", "patients"),
            data.tokens_in_vocabulary,
        ),
        columns=lambda study: schemas.patient_dataset(study.attributes),
        lineage=_dataset_lineage,
        group="data",
        kinds=("arrow",),
        draw=data_stages.draw_follow_up,
        rate=Rate(9.9, 3e8, 2, _SCALE, alone=0.22),
    ),
    Asset(
        name=DATA_SPLIT,
        description="The set (training, validation or test) of each patient, by a keyed hash of the patient id or a"
        " column of the patient file. New extracts do not change it.",
        reads=(PATIENT_DATASET,),
        reads_for_sides=(EXTRACT_CATALOG,),
        section="patients.split",
        also=(lambda study: {"key": identity.split_settings(study).key},),
        checks=(
            rows.rows_conserved,
            rows.schema("split", lambda study: schemas.SPLIT),
            data.no_patient_on_both_sides,
            data.no_record_on_two_sides,
        ),
        columns=lambda study: schemas.SPLIT,
        lineage=lambda study: {"patient_id": PATIENT, "side": PATIENT},
        group="data",
        kinds=("arrow",),
    ),
)
