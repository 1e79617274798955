"""Which columns decide a column, as Dagster shows it.

What an encoder learnt is told as the records that it learnt from, since a checkpoint has no columns.
"""

from typing import Any

import dagster as dg

from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import (
    CLUSTERS,
    COHORT,
    CONCEPT_EMBEDDINGS,
    DATA_SPLIT,
    EXTRACT_CATALOG,
    MAPPED_EVENTS,
    PATIENT_DATASET,
    PATIENT_EMBEDDINGS,
    PATIENT_TRAJECTORIES,
    RAW_RECORDS,
    VOCABULARY,
)

Sources = tuple[tuple[str, str], ...]
"""Asset and column of each column that decides one."""

_EVENT: Sources = ((MAPPED_EVENTS, "patient_id"), (MAPPED_EVENTS, "date"), (MAPPED_EVENTS, "concept"))
_VISITS: Sources = ((PATIENT_DATASET, "visits"),)
_RECORD: Sources = (*_VISITS, (PATIENT_DATASET, "birth_date"))
_PATIENT: Sources = ((PATIENT_DATASET, "patient_id"),)
_CHOSEN: Sources = ((VOCABULARY, "concept"), (CONCEPT_EMBEDDINGS, "neighbour"))
_VECTOR: Sources = ((PATIENT_EMBEDDINGS, "vector"),)
_LINEAGE: dict[str, dict[str, Sources]] = {
    EXTRACT_CATALOG: {"data_version": tuple((RAW_RECORDS, name) for name in ("patient_id", "date", "code"))},
    MAPPED_EVENTS: {
        "patient_id": ((RAW_RECORDS, "patient_id"),),
        "date": ((RAW_RECORDS, "date"),),
        "concept": ((RAW_RECORDS, "code"),),
    },
    VOCABULARY: {
        **dict.fromkeys(("token_id", "concept", "name", "semantic_types", "untyped", "events"), _EVENT[2:]),
        "appearances": _EVENT,
        "patients": (_EVENT[0], _EVENT[2]),
    },
    PATIENT_DATASET: {
        "patient_id": _EVENT[:1],
        **{name: ((RAW_RECORDS, name),) for name in ("birth_date", "birth_precision", "sex")},
        "visits": (*_EVENT[1:], (VOCABULARY, "token_id")),
    },
    DATA_SPLIT: {"patient_id": _PATIENT, "side": _PATIENT},
    COHORT: {
        **dict.fromkeys(("patient_id", "shard", "row"), _PATIENT),
        **dict.fromkeys(("disease", "diseases", "first_date"), _EVENT),
    },
    CONCEPT_EMBEDDINGS: {
        "concept": ((VOCABULARY, "concept"),),
        "name": ((VOCABULARY, "name"),),
        "neighbour": (*_VISITS, (VOCABULARY, "concept")),
        "neighbour_name": (*_VISITS, (VOCABULARY, "name")),
        **dict.fromkeys(("rank", "cosine"), (*_VISITS, (VOCABULARY, "token_id"))),
    },
    PATIENT_EMBEDDINGS: {
        "patient_id": ((COHORT, "patient_id"),),
        "vector": (*_RECORD, *_CHOSEN),
        "chunks": _VISITS,
        "tokens": (*_VISITS, *_CHOSEN),
    },
    CLUSTERS: {
        "patient_id": ((PATIENT_EMBEDDINGS, "patient_id"),),
        "sex": ((PATIENT_DATASET, "sex"),),
        **dict.fromkeys(("age", "mean_age"), _RECORD),
        **dict.fromkeys(("concepts", "visits"), _VISITS),
        "disease": ((COHORT, "disease"),),
        **dict.fromkeys(("cluster", "stability", "x", "y", "assigned", "vector_hash"), _VECTOR),
        "cluster_baseline": _VISITS,
    },
    PATIENT_TRAJECTORIES: {
        "patient_id": ((COHORT, "patient_id"),),
        **dict.fromkeys(("window", "first_date", "last_date"), _VISITS),
        "tokens": (*_VISITS, *_CHOSEN),
        "vector": (*_RECORD, *_CHOSEN),
        **dict.fromkeys(("cluster", "support"), (*_RECORD, *_VECTOR, (CLUSTERS, "cluster"))),
        **{axis: (*_RECORD, *_VECTOR, (CLUSTERS, axis)) for axis in "xy"},
    },
}


def lineage(asset: str, study: Study) -> dict[str, Sources]:
    """The columns of an asset that come from columns of others, each with these; empty where it has no table."""
    found = dict(_LINEAGE.get(asset, {}))
    if asset == PATIENT_DATASET:  # a derived attribute fills the gaps of one of that name in the patient files
        for name in study.attributes:
            carried = [name] if name in study.records.attributes else []
            read_off = ["code", "date"] if name in study.patients.derived else []
            found[name] = tuple((RAW_RECORDS, column) for column in (*carried, *read_off))
    elif asset == CLUSTERS:
        found |= {name: ((PATIENT_DATASET, name),) for name in study.attributes}
        found |= {f"cluster_{method}": _VECTOR for method in study.clusters.others}
    return found


def lineage_metadata(asset: str, study: Study) -> dict[str, Any]:
    """`dagster/column_lineage` of an asset; nothing where it has no table."""
    deps = {
        column: [dg.TableColumnDep(dg.AssetKey(source), name) for source, name in sources]
        for column, sources in lineage(asset, study).items()
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(deps)} if deps else {}
