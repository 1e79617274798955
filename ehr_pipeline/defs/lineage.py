"""Which columns decide a column, as Dagster shows it.

What an encoder learnt is told as the records that it learnt from, since a checkpoint has no columns.
"""

from typing import Any

import dagster as dg

from ehr_pipeline.study.settings import Study

Sources = tuple[tuple[str, str], ...]
"""Asset and column of each column that decides one."""

_EVENT: Sources = (("mapped_events", "patient_id"), ("mapped_events", "date"), ("mapped_events", "concept"))
_VISITS: Sources = (("patient_dataset", "visits"),)
_RECORD: Sources = (*_VISITS, ("patient_dataset", "birth_date"))
_PATIENT: Sources = (("patient_dataset", "patient_id"),)
_CHOSEN: Sources = (("vocabulary", "concept"), ("concept_embeddings", "neighbour"))
_VECTOR: Sources = (("patient_embeddings", "vector"),)
_LINEAGE: dict[str, dict[str, Sources]] = {
    "extract_catalog": {"data_version": tuple(("raw_records", name) for name in ("patient_id", "date", "code"))},
    "mapped_events": {
        "patient_id": (("raw_records", "patient_id"),),
        "date": (("raw_records", "date"),),
        "concept": (("raw_records", "code"),),
    },
    "vocabulary": {
        **dict.fromkeys(("token_id", "concept", "name", "semantic_types", "untyped", "events"), _EVENT[2:]),
        "appearances": _EVENT,
        "patients": (_EVENT[0], _EVENT[2]),
    },
    "patient_dataset": {
        "patient_id": _EVENT[:1],
        **{name: (("raw_records", name),) for name in ("birth_date", "birth_precision", "sex")},
        "visits": (*_EVENT[1:], ("vocabulary", "token_id")),
    },
    "data_split": {"patient_id": _PATIENT, "side": _PATIENT},
    "cohort": {
        **dict.fromkeys(("patient_id", "shard", "row"), _PATIENT),
        **dict.fromkeys(("disease", "diseases", "first_date"), _EVENT),
    },
    "concept_embeddings": {
        "concept": (("vocabulary", "concept"),),
        "name": (("vocabulary", "name"),),
        "neighbour": (*_VISITS, ("vocabulary", "concept")),
        "neighbour_name": (*_VISITS, ("vocabulary", "name")),
        **dict.fromkeys(("rank", "cosine"), (*_VISITS, ("vocabulary", "token_id"))),
    },
    "patient_embeddings": {
        "patient_id": (("cohort", "patient_id"),),
        "vector": (*_RECORD, *_CHOSEN),
        "chunks": _VISITS,
        "tokens": (*_VISITS, *_CHOSEN),
    },
    "clusters": {
        "patient_id": (("patient_embeddings", "patient_id"),),
        "sex": (("patient_dataset", "sex"),),
        **dict.fromkeys(("age", "mean_age"), _RECORD),
        **dict.fromkeys(("concepts", "visits"), _VISITS),
        "disease": (("cohort", "disease"),),
        **dict.fromkeys(("cluster", "stability", "x", "y", "assigned", "vector_hash"), _VECTOR),
        "cluster_baseline": _VISITS,
    },
    "patient_trajectories": {
        "patient_id": (("cohort", "patient_id"),),
        **dict.fromkeys(("window", "first_date", "last_date"), _VISITS),
        "tokens": (*_VISITS, *_CHOSEN),
        "vector": (*_RECORD, *_CHOSEN),
        **dict.fromkeys(("cluster", "support"), (*_RECORD, *_VECTOR, ("clusters", "cluster"))),
        **{axis: (*_RECORD, *_VECTOR, ("clusters", axis)) for axis in "xy"},
    },
}


def lineage(asset: str, study: Study) -> dict[str, Sources]:
    """The columns of an asset that come from columns of others, each with these; empty where it has no table."""
    found = dict(_LINEAGE.get(asset, {}))
    if asset == "patient_dataset":  # a derived attribute fills the gaps of one of that name in the patient files
        for name in study.attributes:
            carried = [name] if name in study.records.attributes else []
            read_off = ["code", "date"] if name in study.patients.derived else []
            found[name] = tuple(("raw_records", column) for column in (*carried, *read_off))
    elif asset == "clusters":
        found |= {name: (("patient_dataset", name),) for name in study.attributes}
        found |= {f"cluster_{method}": _VECTOR for method in study.clusters.others}
    return found


def lineage_metadata(asset: str, study: Study) -> dict[str, Any]:
    """`dagster/column_lineage` of an asset; nothing where it has no table."""
    deps = {
        column: [dg.TableColumnDep(dg.AssetKey(source), name) for source, name in sources]
        for column, sources in lineage(asset, study).items()
    }
    return {"dagster/column_lineage": dg.TableColumnLineage(deps)} if deps else {}
