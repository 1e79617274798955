"""Patients who withdraw their consent: they leave every file of an extract, its quarantine included.

The list is a text file with one patient id a line; a first line `patient_id`, empty lines and repeats do no harm. An extract that
was read already is not read again: what does not concern the list's patients is linked, the rest is filtered.
"""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline import rows, schemas
from ehr_pipeline.artifacts import Counts
from ehr_pipeline.buckets import shard_name
from ehr_pipeline.errors import InputError
from ehr_pipeline.records import codes
from ehr_pipeline.records.deltas import WAITING
from ehr_pipeline.records.finish import BULK
from ehr_pipeline.records.hashing import bucket_of, hash_of
from ehr_pipeline.records.ids import is_inexact, whole
from ehr_pipeline.terminology.reading import named, why

APPLIED = "withdrawn.npy"
"""Hashes of the patients who were removed, sorted: a shorter list asks for patients who are no longer there."""


def read(path: str) -> pl.Series:
    """The distinct patient ids of a list, sorted; none where the path is empty. Raises InputError when it cannot be read."""
    if not path:
        return pl.Series([], dtype=pl.String)
    told = named(path, "records.withdrawals")
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{told}: the list of withdrawals cannot be read: {why(error)}.") from None
    ids = sorted({line for line in lines if line} - {"patient_id"})
    wrong = next((number for number, line in enumerate(lines, start=1) if set(line) & set(",;\t|")), None)
    if wrong:
        raise InputError(f"{told}, line {wrong}: more than one field. A list of withdrawals has one patient id a line.")
    rounded = next((number for number, line in enumerate(lines, start=1) if is_inexact(line)), None)
    if rounded:
        raise InputError(
            f"{told}, line {rounded}: a number that a spreadsheet or a program rounded, such as '1.2E+14', is no patient id. Write"
            " the list anew from its source, with the ids as text."
        )
    return pl.select(whole(pl.lit(pl.Series("id", ids, pl.String)))).to_series().unique().sort()


def can_follow(applied: Path, ids: pl.Series) -> bool:
    """Whether everybody who was removed before (`applied`) is on the list still, so that the files need not be read again."""
    return bool(np.isin(np.load(applied), hash_of(ids)).all()) if applied.is_file() else True


def link(source: Path, out: Path) -> None:
    """Link all files of an artifact into a new one."""
    for path in source.rglob("*"):
        if path.is_file() and path.parent != source:
            target = out / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)


def apply(out: Path, ids: pl.Series, buckets: int, counts: Counts) -> Counts:
    """Remove patients from the files of an extract in the making; returns its counts after that.

    Their rows count as dropped for the reason `withdrawn`, whatever became of them before. No file is written through a link.
    """
    hashes = np.sort(hash_of(ids))
    np.save(out / APPLIED, hashes)
    events: Counter[str] = Counter()
    people: Counter[str] = Counter()
    flagged: Counter[str] = Counter()
    waiting: Counter[str] = Counter()
    listed = pa.array(ids.to_list(), pa.string())
    for bucket in np.unique(bucket_of(ids, buckets)).tolist():
        name = shard_name(bucket)
        _filter_patients(out / "patients" / name, listed, people)
        _filter_events(out / "events" / name, listed, events)
        if (out / WAITING / name).is_file():
            _filter_events(out / WAITING / name, listed, waiting)
        if (out / BULK / name).is_file():
            _filter_events(out / BULK / name, listed, flagged)
    for path in sorted((out / "quarantine").iterdir()):
        _filter_quarantine(path, hashes, {"events": events, "patients": people})
    if events["kept"]:
        codes.write_again(out)
    return _counted(counts, events) | {
        "patients": _counted(counts["patients"], people),
        "entered_in_bulk": counts["entered_in_bulk"] - flagged["kept"],
        **({WAITING: counts[WAITING] - waiting["kept"]} if WAITING in counts else {}),
    }


def _filter_patients(path: Path, ids: pa.Array, removed: Counter[str]) -> None:
    table = schemas.read(path)
    left = table.filter(pc.invert(pc.is_in(table.column("patient_id"), value_set=ids)))
    removed["kept"] += table.num_rows - left.num_rows
    _replace(path, left)


def _filter_events(path: Path, ids: pa.Array, removed: Counter[str]) -> None:
    patient, day, code, own_ids, names = rows.from_table(schemas.read(path), "code")
    leaves = pc.is_in(own_ids.cast(pa.string()), value_set=ids).to_numpy(zero_copy_only=False)[patient]
    removed["kept"] += int(leaves.sum())
    keys = rows.pack(patient[~leaves], day[~leaves], code[~leaves])
    _replace(path, rows.to_table(keys, own_ids, names, "code"))


def _filter_quarantine(path: Path, hashes: NDArray[np.uint64], removed: dict[str, Counter[str]]) -> None:
    part = path.with_name(f".{path.name}")
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as old, pa.ipc.new_file(part, old.schema) as new:
        for number in range(old.num_record_batches):
            batch = old.get_batch(number)
            leaves = pc.is_in(batch.column("patient_hash"), value_set=pa.array(hashes))
            gone = batch.filter(leaves)
            for kind, reason in zip(gone.column("kind").to_pylist(), gone.column("reason").to_pylist(), strict=True):
                removed[kind][reason] += 1
            new.write_batch(batch.filter(pc.invert(leaves)))
    part.replace(path)


def _replace(path: Path, table: pa.Table) -> None:
    """Write a file anew: the old one may be linked from an artifact that others read."""
    path.unlink()
    schemas.write(path, table)


def _counted(counts: Counts, removed: Counter[str]) -> Counts:
    dropped: Counter[str] = Counter(counts["dropped"])
    dropped.subtract({reason: number for reason, number in removed.items() if reason != "kept"})
    dropped["withdrawn"] += removed.total()
    return counts | {
        "kept": counts["kept"] - removed["kept"],
        "dropped": {reason: number for reason, number in sorted(dropped.items()) if number},
    }
