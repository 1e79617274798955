"""One bucket of an extract: its events joined to its patients, what does not fit rejected, both sorted and written."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline import plain, rows, schemas
from ehr_pipeline.buckets import shard_name
from ehr_pipeline.errors import UserError
from ehr_pipeline.records import patients
from ehr_pipeline.records.hashing import hash_of, hash_of_numbers
from ehr_pipeline.records.read import NAMED, NUMBERED
from ehr_pipeline.records.shuffle import read_bucket

Rejected = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.str_], NDArray[np.uint64]]
"""File number, line, reason and hash of the patient (n,) of rejected rows."""


@dataclass(frozen=True)
class BucketJob:
    """What the work on one bucket needs."""

    bucket: int
    shuffled: Path
    out: Path
    attributes: tuple[str, ...]


def finish_bucket(job: BucketJob) -> dict[str, int]:
    """Write the patients, events and rejected rows of one bucket. Returns their counts."""
    people, repeated, differing = _finish_patients(job)
    counts = {"patients": people.height, "repeated_patients": repeated, "differing_patients": differing}
    codes = schemas.read(job.shuffled / "codes")
    rank = codes.column("rank").to_numpy()
    first = patients.earliest_day(people["birth_date"], people["birth_precision"]).to_numpy()
    keys, rejected = [np.empty(0, np.uint64)], []
    for name in (NUMBERED, NAMED):
        runs = list(read_bucket(job.shuffled / name, job.bucket))
        if not runs:
            continue
        table = pa.Table.from_batches([run.rows for run in runs]).combine_chunks()
        patient = _find(table.column("patient").combine_chunks(), people)
        day, code, line = (table.column(each).to_numpy() for each in ("day", "code", "line"))
        known = patient >= 0
        alive = known.copy()
        alive[known] = day[known] >= first[patient[known]]
        if not alive.all():
            reason = np.where(known, "before_birth", "unknown_patient")[~alive]
            sizes = [run.rows.num_rows for run in runs]
            file, begin = (np.repeat([getattr(run, each) for run in runs], sizes) for each in ("file", "first_line"))
            who = _hash(table.column("patient").combine_chunks().filter(pa.array(~alive)))
            rejected.append((file[~alive], (begin + line)[~alive], reason, who))
            patient, day, code = patient[alive], day[alive], code[alive]
        keys.append(rows.pack(patient, day, rank[code - 1]))
    key = np.sort(np.concatenate(keys))
    ids = people["patient_id"].to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())
    names = codes.column("code").combine_chunks()
    schemas.write(job.out / "events" / shard_name(job.bucket), rows.to_table(key, ids, names, "code"))
    return counts | _quarantine(job, rejected) | {"events": len(key)}


def _finish_patients(job: BucketJob) -> tuple[pl.DataFrame, int, int]:
    schema = schemas.patients(job.attributes)
    runs = [run.rows for run in read_bucket(job.shuffled / "patients", job.bucket)]
    frame = pl.DataFrame(pa.Table.from_batches(runs, schema=schema))
    if frame.height >= 2**rows.PATIENT_BITS:
        raise UserError(
            f"A bucket holds {frame.height:,} rows of patients, more than it can number. Raise records.buckets."
        )
    people, repeated, differing = patients.one_row_each(frame)
    schemas.write(job.out / "patients" / shard_name(job.bucket), people.to_arrow().cast(schema))
    return people, repeated, differing


def _find(ids: pa.Array, people: pl.DataFrame) -> NDArray[np.int32]:
    """The place (n,) among people of each patient id (n,); -1 where there is none."""
    names = people["patient_id"]
    known = names.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())
    if pa.types.is_integer(ids.type):
        numbers, is_plain = plain.numbers(names)
        known = pa.array(numbers, mask=~is_plain)  # no plain number equals another id
    place: NDArray[np.int32] = pc.index_in(ids, value_set=known).fill_null(-1).to_numpy()
    return place


def _hash(ids: pa.Array) -> NDArray[np.uint64]:
    return hash_of_numbers(ids.to_numpy()) if pa.types.is_integer(ids.type) else hash_of(pl.Series(ids))


def _quarantine(job: BucketJob, rejected: list[Rejected]) -> dict[str, int]:
    """Write down the rejected rows of a bucket, in order of file and line. Returns how many there are by reason."""
    if not rejected:
        return {}
    names = schemas.read(job.shuffled / "files").column("file").combine_chunks()
    file, line, reason, who = (np.concatenate(part) for part in zip(*rejected, strict=True))
    order = np.lexsort((line, file))
    columns = {
        "kind": pa.array(["events"] * len(order)),
        "file": names.take(pa.array(file[order])),
        "line": pa.array(line[order]),
        "reason": pa.array(reason[order], pa.string()),
        "patient_hash": pa.array(who[order]),
    }
    schemas.write(job.out / "quarantine" / shard_name(job.bucket), pa.table(columns, schema=schemas.QUARANTINE))
    return dict(zip(*(part.tolist() for part in np.unique(reason, return_counts=True)), strict=True))
