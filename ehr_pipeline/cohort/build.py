"""Build `cohort`: the patients in the data set who have at least one of the diseases, which are defined by concept lists; one row
each.

A patient has a disease if concepts of its list were recorded on enough different days. `disease` is the one recorded on the most
days (in a tie, the first in the settings); `diseases` holds all of the patient's diseases.
"""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.cohort.members import CASES, LISTS, Cohort
from ehr_pipeline.cohort.settings import Disease
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.errors import InputError
from ehr_pipeline.events.resolve_lists import Rows, facts
from ehr_pipeline.events.resolve_lists import concepts as concepts_of
from ehr_pipeline.events.table import Mapping
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.tables import align, row_keys, schemas


def build(
    events: Artifact, dataset: Artifact, diseases: tuple[Disease, ...], lists: tuple[Rows, ...], out: Path
) -> Counts:
    """Write `cohort.arrow`, and the concepts that each row of the lists stands for. Raises InputError if the cohort is empty.

    Returns numbers of patients and, for each list, how many concepts it has and how many of these occur in the extracts.
    """
    mapping = Mapping.read(events.path, "code", "snomed", "concept", "events").table
    concepts = [
        sorted(concepts_of(rows)) if disease.concepts else None for disease, rows in zip(diseases, lists, strict=True)
    ]
    parts, amounts, cases, outside = [], [], 0, 0
    for shard in dataset.files("patients"):
        found = _cases(events.file(f"events/{shard.name}"), concepts, diseases)
        row = align.rows(found.column("patient_id"), schemas.read(shard).column("patient_id"))
        inside = row >= 0
        cases += len(row)
        outside += int((~inside).sum())
        found = found.append_column("shard", pa.array([shard.name] * len(row), pa.string()))
        amounts.append(_amounts(found.append_column("inside", pa.array(inside))))
        found = found.append_column("row", pa.array(row)).filter(pa.array(inside))
        parts.append(found.select(schemas.COHORT.names).cast(schemas.COHORT))
    cohort = pa.concat_tables(parts)
    found_of = {
        disease.name: _list_facts(rows, mapping)
        for disease, rows in zip(diseases, lists, strict=True)
        if disease.concepts
    }
    if not cohort.num_rows:
        kinds = ", ".join(f"{name} {count_text(each['events'])}" for name, each in found_of.items())
        wanted = "listed concept on at least min_visits days"
        raise InputError(
            "The cohort is empty: "
            + (f"no patient with a {wanted} is in the patient data set." if cases else f"no patient has a {wanted}.")
            + f" Events of the listed concepts in the extract: {kinds}."
            " Check the lists under [[embeddings.cohort]], the mapping's coverage, and min_visits."
        )
    Cohort(cohort).write(out)
    schemas.write(out / CASES, pa.concat_tables(amounts))
    listed = (
        (disease.name, each.row.line, each.row.code, each.row.cui, each.row.name, " ".join(sorted(each.concepts)))
        for disease, rows in zip(diseases, lists, strict=True)
        for each in rows
    )
    spreadsheet.write(out / LISTS, schemas.LISTS, listed)
    by_disease = cohort.column("disease").to_pylist()
    return {
        "rows_in": cases,
        "kept": cohort.num_rows,
        "dropped": {"not_in_patient_dataset": outside},
        "by_disease": {disease.name: by_disease.count(disease.name) for disease in diseases},
        "lists": found_of,
    }


def _amounts(found: pa.Table) -> pa.Table:
    """Return how much is recorded of the patients of a shard who have a disease (`schemas.CASES`)."""
    renamed = {"first_date": "first_record", "begun": "first_date"}
    named = found.rename_columns([renamed.get(name, name) for name in found.column_names])
    return named.select(schemas.CASES.names).cast(schemas.CASES)


def _list_facts(rows: Rows, mapping: pl.DataFrame) -> dict[str, Any]:
    """Return facts about a list: its concepts, those in the extracts, their events, and events with a listed code but no
    concept."""
    present = mapping.filter(pl.col("concept").is_in(sorted(concepts_of(rows))))
    codes = sorted({resolved.row.code for resolved in rows} - {""})
    lost = mapping.filter(pl.col("concept").is_null() & (pl.col("code").is_in(codes) | pl.col("snomed").is_in(codes)))
    return facts(rows) | {
        "concepts_in_extract": present["concept"].n_unique(),
        "events": int(present["events"].sum()),
        "unmapped_events": int(lost["events"].sum()),
    }


def _of(names: pa.Array, wanted: list[str] | None) -> NDArray[np.bool_]:
    """Return flags of the wanted concepts; all of them if there is no list."""
    if wanted is None:
        return np.ones(len(names), bool)
    found: NDArray[np.bool_] = pc.is_in(names.cast(pa.string()), value_set=pa.array(wanted, pa.string())).to_numpy(
        zero_copy_only=False
    )
    return found


def _cases(events: Path, concepts: list[list[str] | None], diseases: tuple[Disease, ...]) -> pa.Table:
    """Return a shard's patients with a disease, found in its mapped events.

    The columns are patient_id, disease, diseases, first_date (the first day with a disease of the patient), and how much is
    recorded of the patient: concepts, visits, and the first (`begun`) and last date.
    """
    patient, day, concept, ids, names = row_keys.from_table(schemas.read(events), "concept")
    days = np.zeros((len(diseases), len(ids)), np.int64)
    first = np.full(len(ids), np.iinfo(np.int32).max, np.int32)
    for number, (disease, wanted) in enumerate(zip(diseases, concepts, strict=True)):
        here = _of(names, wanted)[concept] if len(names) else np.zeros(0, bool)
        visits = np.unique(np.stack([patient[here], day[here]]), axis=1)
        counted = np.bincount(visits[0], minlength=len(ids))
        days[number] = np.where(counted >= disease.min_visits, counted, 0)
        case = days[number] > 0
        np.minimum.at(first, visits[0][case[visits[0]]], visits[1][case[visits[0]]].astype(np.int32))
    cases = np.flatnonzero(days.any(0))
    named = np.array([disease.name for disease in diseases])
    amount = _recorded(patient, day, concept, cases)
    return pa.table(
        {
            "patient_id": ids.take(pa.array(cases)).cast(pa.string()),
            "disease": pa.array(named[days[:, cases].argmax(0)], pa.string()),
            "diseases": pa.array(
                [named[column > 0].tolist() for column in days[:, cases].T], schemas.COHORT.field("diseases").type
            ),
            "first_date": pa.array(first[cases]).cast(pa.date32()),
            **amount,
        }
    )


def _recorded(
    patient: NDArray[np.int32], day: NDArray[np.int32], concept: NDArray[np.int32], cases: NDArray[np.int64]
) -> dict[str, pa.Array]:
    """Return what is recorded of the patients `cases` (rows of a shard): concepts (once a day), days, first and last day."""
    listed = np.zeros(int(patient.max(initial=-1)) + 1, bool)
    listed[cases] = True
    kept = listed[patient]
    keys = row_keys.pack(patient[kept], day[kept], concept[kept])
    keys.sort()
    keys = keys[row_keys.starts(keys)]
    visits = keys[row_keys.starts(row_keys.visits(keys))]
    owner, own = row_keys.patients(keys), row_keys.patients(visits)
    begin = np.flatnonzero(row_keys.starts(own))
    end = np.append(begin[1:], len(visits))[: len(begin)] - 1
    return {
        "concepts": pa.array(np.bincount(owner, minlength=len(listed))[cases]),
        "visits": pa.array(np.bincount(own, minlength=len(listed))[cases]),
        "begun": pa.array(row_keys.days(visits[begin])).cast(pa.date32()),
        "last_date": pa.array(row_keys.days(visits[end])).cast(pa.date32()),
    }
