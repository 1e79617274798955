"""Finish one bucket of an extract: join events to patients, reject events that do not fit, sort and write both."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.errors import UserError
from ehr_pipeline.records import code_numbers, events_without_patient, merge_patients, patients, values
from ehr_pipeline.records.bulk_entry import entered_in_bulk
from ehr_pipeline.records.dates import NEVER
from ehr_pipeline.records.read import NAMED, NUMBERED
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.records.shuffle import read_bucket
from ehr_pipeline.tables import plain_numbers, row_keys, schemas
from ehr_pipeline.tables.hashing import hash_of, hash_of_numbers
from ehr_pipeline.work.buckets import read_once, shard_name

BULK = "bulk_entered"
"""Folder of the events that were entered in bulk; they are in `events` too."""
ORPHAN = "adds_to_no_patient"
"""The reason to reject a row of a patient file without a birth, if no other row gives the patient's birth."""
UNKNOWN_PATIENTS = "unknown_patients"
"""Name of the count of patients without a row, whose events are rejected."""
KNOWN = "known:"
"""Prefix of counts: `known:<column>` is the number of patients with a value in the column."""
DIFFERING = "differing:"
"""Prefix of counts: `differing:<column>` is the number of patients with several values in the column."""
OTHER_SEX = "sex:"
"""Prefix of counts: `sex:<value>` is the number of patients with this value, which is not understood."""
Rejected = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.str_], NDArray[np.uint64]]
"""File number, line, reason and patient hash (n,) of rejected rows."""


@dataclass(frozen=True)
class FinishingJob:
    """The arguments for finishing one bucket."""

    bucket: int
    shuffled: Path
    out: Path
    settings: RecordsSettings

    @property
    def used(self) -> Path:
        """Scratch file: which codes occur in the bucket, as bits."""
        return self.shuffled / f"used_{self.bucket}.npy"


def finish_bucket(job: FinishingJob) -> dict[str, int]:
    """Write the patients, events and rejected rows of one bucket. Returns their counts."""
    people, counts, rejected = _finish_patients(job)
    names, rank = _codes(job.shuffled / "codes")
    first = np.append(patients.earliest_day(people["birth_date"], people["birth_precision"]), NEVER)  # of nobody (-1)
    bulk: list[row_keys.Keys] = []
    waiting: list[events_without_patient.EventsAside] = []
    keys, outside = [np.empty(0, np.uint64)], {"kept_before_observation": 0, "kept_after_observation": 0}
    for name in (NUMBERED, NAMED):
        bucket = read_bucket(job.shuffled / name, job.bucket)
        table = bucket.rows
        if not table.num_rows:
            continue
        patient = _find(table.column("patient").combine_chunks(), people)
        day, code, line = (table.column(each).to_numpy() for each in ("day", "code", "line"))
        known = patient >= 0
        if not known.all():
            waiting.append(events_without_patient.set_aside(table, ~known, job.settings))
            counts[UNKNOWN_PATIENTS] += pc.count_distinct(table.column("patient").filter(pa.array(~known))).as_py()
        alive = known & (day >= first[patient])
        early, late = patients.outside(people, patient, day, alive)
        not_alive = ~alive
        if job.settings.outside_observation == "reject":
            alive = alive & ~early & ~late
        else:
            outside["kept_before_observation"] += int(early.sum())
            outside["kept_after_observation"] += int(late.sum())
        in_bulk = np.zeros(len(alive), bool)
        if "entered" in table.column_names:
            in_bulk = alive & entered_in_bulk(patient, day, table.column("entered").to_numpy(), job.settings.bulk_entry)
            if job.settings.entered_in_bulk == "reject":
                alive = alive & ~in_bulk
            else:
                bulk.append(row_keys.translated(patient[in_bulk], day[in_bulk], code[in_bulk], rank))
        if not alive.all():
            tests = {events_without_patient.UNKNOWN: ~known, "before_birth": not_alive}
            if job.settings.outside_observation == "reject":
                tests |= {"before_observation": early, "after_observation": late}
            reason = np.select(list(tests.values()), list(tests), "entered_in_bulk")[~alive]
            file, line = bucket.places(line)
            who = _hash(table.column("patient").combine_chunks().filter(pa.array(~alive)))
            rejected.append((file[~alive], line[~alive], reason, who))
            patient, day, code = patient[alive], day[alive], code[alive]
        keys.append(row_keys.translated(patient, day, code, rank))
    key = row_keys.sorted_keys(np.concatenate(keys))
    ids = people["patient_id"].to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())
    used = np.zeros(len(names), np.bool_)
    schemas.write(job.out / "events" / shard_name(job.bucket), row_keys.to_table(key, ids, names, "code", used))
    np.save(job.used, np.packbits(used))
    if bulk:
        flagged = np.sort(np.concatenate(bulk))
        schemas.write(job.out / BULK / shard_name(job.bucket), row_keys.to_table(flagged, ids, names, "code"))
        outside["kept_entered_in_bulk"] = len(flagged)
    if waiting:
        path = job.out / events_without_patient.WAITING / shard_name(job.bucket)
        counts[events_without_patient.WAITING] = events_without_patient.write(path, waiting, names, rank)
    return counts | outside | _quarantine(job, rejected) | {"events": len(key)}


@read_once()
def _codes(path: Path) -> tuple[pa.Array, NDArray[np.int32]]:
    """Return all codes of the extract, sorted, and the index of each code by its number (0: no code). Reads the file only once."""
    table = schemas.read(path)
    return table.column("code").combine_chunks(), np.append(np.int32(-1), table.column("rank").to_numpy())


def _finish_patients(job: FinishingJob) -> tuple[pl.DataFrame, dict[str, int], list[Rejected]]:
    """Write the patients of a bucket. Returns the patients, the counts, and the rejected rows: of patients without a birth in any
    row."""
    schema = schemas.patients(job.settings.attributes)
    bucket = read_bucket(job.shuffled / "patients", job.bucket)
    frame = pl.DataFrame(bucket.rows.drop_columns(["line"]))
    if frame.height >= 2**row_keys.PATIENT_BITS:
        raise UserError(
            f"A bucket has {frame.height:,} rows of patients, too many for one bucket. Raise records.buckets."
        )
    frame, others, with_others = values.clear_unknown(frame)
    merged = merge_patients.merge_rows(frame)
    people, orphans = merged.people, merged.orphans
    schemas.write(job.out / "patients" / shard_name(job.bucket), people.to_arrow().cast(schema))
    counts = {
        "patients": people.height,
        "repeated_patients": merged.repeated,
        **{f"{DIFFERING}{name}": number for name, number in merged.differing.items()},
        **{f"{KNOWN}{name}": number for name, number in merge_patients.count_values(people).items()},
        "sex_not_understood": with_others,
        UNKNOWN_PATIENTS: 0,
        **{f"{OTHER_SEX}{value}": number for value, number in others.items()},
    }
    rejected = []
    if orphans.any():
        file, line = bucket.places(bucket.rows.column("line").to_numpy())
        who = hash_of(frame["patient_id"].filter(pl.Series(orphans)))
        rejected.append((file[orphans], line[orphans], np.full(len(who), ORPHAN), who))
    return people, counts, rejected


def _find(ids: pa.Array, people: pl.DataFrame) -> NDArray[np.int32]:
    """Return the row in `people` (n,) of each patient id (n,), or -1."""
    names = people["patient_id"]
    if pa.types.is_integer(ids.type):
        numbers, is_plain = plain_numbers.numbers(names)  # no plain number equals another id
        return code_numbers.Places(numbers, is_plain).of(ids.to_numpy())
    known = names.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())
    place: NDArray[np.int32] = pc.index_in(ids, value_set=known).fill_null(-1).to_numpy()
    return place


def _hash(ids: pa.Array) -> NDArray[np.uint64]:
    return hash_of_numbers(ids.to_numpy()) if pa.types.is_integer(ids.type) else hash_of(pl.Series(ids))


def _quarantine(job: FinishingJob, rejected: list[Rejected]) -> dict[str, int]:
    """Write the rejected rows of a bucket, ordered by file and line. Returns their number by reason."""
    if not rejected:
        return {}
    names = schemas.read(job.shuffled / "files").column("file").combine_chunks()
    file, line, reason, who = (np.concatenate(part) for part in zip(*rejected, strict=True))
    order = np.lexsort((line, file))
    columns = {
        "kind": pa.array(np.where(reason[order] == ORPHAN, "patients", "events"), pa.string()),
        "file": names.take(pa.array(file[order])),
        "line": pa.array(line[order]),
        "reason": pa.array(reason[order], pa.string()),
        "patient_hash": pa.array(who[order]),
    }
    schemas.write(job.out / "quarantine" / shard_name(job.bucket), pa.table(columns, schema=schemas.QUARANTINE))
    return dict(zip(*(part.tolist() for part in np.unique(reason, return_counts=True)), strict=True))
