"""`cohort`: who has one of the diseases, by concept lists; one row for each such patient of the data set.

A patient is a case of a disease when concepts of its list were recorded on enough different days. `disease` is the one
recorded on most days (the earlier in the settings where equal), `diseases` all of them.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline import rows, schemas
from ehr_pipeline.artifacts import Artifact, Counts
from ehr_pipeline.embeddings.settings import Disease
from ehr_pipeline.errors import InputError
from ehr_pipeline.terminology import code_lists


def build(events: Artifact, dataset: Artifact, diseases: tuple[Disease, ...], out: Path) -> Counts:
    """Write `cohort.arrow`. Returns counts of patients, and for each list what of it the extract holds.

    Raises InputError when nobody is in the cohort.
    """
    mapping = list(_read_mapping(events))
    concept_of_code = {row["snomed"]: row["concept"] for row in mapping if row["concept"]}
    concepts = [
        sorted(code_lists.concepts(Path(disease.concepts), concept_of_code, f"embeddings.cohort[{number}].concepts"))
        for number, disease in enumerate(diseases)
    ]
    parts, cases, outside = [], 0, 0
    for shard in dataset.files("patients"):
        found = _cases(events.file(f"events/{shard.name}"), concepts, diseases)
        ids = schemas.read(shard, ["patient_id"]).column("patient_id").combine_chunks()
        place = pc.index_in(found.column("patient_id").combine_chunks(), value_set=ids)
        inside = place.is_valid()
        cases += found.num_rows
        outside += found.num_rows - pc.sum(inside).as_py() if found.num_rows else 0
        found = found.append_column("shard", pa.array([shard.name] * found.num_rows, pa.string())).append_column(
            "row", place
        )
        parts.append(found.filter(inside).select(schemas.COHORT.names).cast(schemas.COHORT))
    cohort = pa.concat_tables(parts)
    lists = {disease.name: _list_facts(disease, mapping) for disease in diseases}
    if not cohort.num_rows:
        there = ", ".join(f"{name} {facts['events']:,}" for name, facts in lists.items())
        asked = "a concept of the lists on as many days as min_visits asks"
        raise InputError(
            "The cohort is empty: "
            + (f"who has {asked} is not in the patient data set." if cases else f"nobody has {asked}.")
            + f" Events of the listed codes in the extract: {there}."
            " Check the lists under [[embeddings.cohort]], the mapping's coverage, and min_visits."
        )
    schemas.write(out / "cohort.arrow", cohort)
    by_disease = cohort.column("disease").to_pylist()
    return {
        "rows_in": cases,
        "kept": cohort.num_rows,
        "dropped": {"not_in_patient_dataset": outside},
        "by_disease": {disease.name: by_disease.count(disease.name) for disease in diseases},
        "lists": lists,
    }


def _read_mapping(events: Artifact) -> Iterator[dict[str, str]]:
    with events.file("mapping.csv").open(encoding="utf-8", newline="") as stream:
        yield from csv.DictReader(stream)


def _list_facts(disease: Disease, mapping: list[dict[str, str]]) -> dict[str, Any]:
    """How many codes of a list the extract holds, with how many events, and how many events were lost for want of a concept."""
    listed = {row.code for row in code_lists.read(Path(disease.concepts))}
    present = [row for row in mapping if row["snomed"] in listed]
    return {
        "codes": len(listed),
        "codes_in_extract": len(present),
        "events": sum(int(row["events"]) for row in present),
        "unmapped_events": sum(int(row["events"]) for row in present if not row["concept"]),
    }


def _cases(events: Path, concepts: list[list[str]], diseases: tuple[Disease, ...]) -> pa.Table:
    """Cases among the mapped events of one shard: patient_id, disease, diseases, first_date."""
    patient, day, concept, ids, names = rows.from_table(schemas.read(events), "concept")
    days = np.zeros((len(diseases), len(ids)), np.int64)
    first = np.full(len(ids), np.iinfo(np.int32).max, np.int32)
    for number, (disease, wanted) in enumerate(zip(diseases, concepts, strict=True)):
        listed = pc.is_in(names.cast(pa.string()), value_set=pa.array(wanted, pa.string())).to_numpy(
            zero_copy_only=False
        )
        here = listed[concept] if len(names) else np.zeros(0, bool)
        visits = np.unique(np.stack([patient[here], day[here]]), axis=1)
        counted = np.bincount(visits[0], minlength=len(ids))
        days[number] = np.where(counted >= disease.min_visits, counted, 0)
        case = days[number] > 0
        np.minimum.at(first, visits[0][case[visits[0]]], visits[1][case[visits[0]]].astype(np.int32))
    cases = np.flatnonzero(days.any(0))
    named = np.array([disease.name for disease in diseases])
    return pa.table(
        {
            "patient_id": ids.take(pa.array(cases)).cast(pa.string()),
            "disease": pa.array(named[days[:, cases].argmax(0)], pa.string()),
            "diseases": pa.array(
                [named[column > 0].tolist() for column in days[:, cases].T], schemas.COHORT.field("diseases").type
            ),
            "first_date": pa.array(first[cases]).cast(pa.date32()),
        }
    )


def rows_of_shard(cohort: pa.Table, shard: str) -> NDArray[np.int64]:
    """Rows of one shard of the data set that belong to the cohort, in order."""
    mine = cohort.filter(pc.equal(cohort.column("shard"), shard))
    return np.sort(mine.column("row").to_numpy().astype(np.int64))
