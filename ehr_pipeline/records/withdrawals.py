"""Remove patients who withdraw their consent from every file of an extract, including its quarantine.

The list is a text file with one patient id per line; a first line `patient_id`, empty lines and repeats are ignored. An extract is
not read again for this: its files without patients of the list are linked, the others are filtered.
"""

import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import codes, quarantine
from ehr_pipeline.records.events_without_patient import WAITING
from ehr_pipeline.records.finish_bucket import BULK
from ehr_pipeline.records.ids import is_inexact, whole
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.tables import row_keys, schemas
from ehr_pipeline.tables.hashing import bucket_of, hash_of
from ehr_pipeline.terminology.reading import label, why
from ehr_pipeline.work.buckets import shard_name

APPLIED = "notes/withdrawn.arrow"
"""File with the sorted keyed hashes of the removed patients: if one is taken off the list, the rows are needed again."""
REMOVED = "withdrawn.json"
"""File with the numbers of removed rows. It is part of the data, so assets that report these numbers are updated even if rows were
removed only from the quarantine."""


def read(path: str) -> pl.Series:
    """Return the sorted distinct patient ids of a list; none if the path is empty. Raises InputError for an unusable list."""
    if not path:
        return pl.Series([], dtype=pl.String)
    file_label = label(path, "records.withdrawals")
    try:
        lines = [line.strip() for line in Path(path).read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{file_label}: the list of withdrawals cannot be read ({why(error)}). Check the path and its permissions."
        ) from None
    ids = sorted({line for line in lines if line} - {"patient_id"})
    wrong = next((number for number, line in enumerate(lines, start=1) if set(line) & set(",;\t|")), None)
    if wrong:
        raise InputError(
            f"{file_label}, line {wrong}: more than one field. A list of withdrawals has one patient id per line."
        )
    rounded = next((number for number, line in enumerate(lines, start=1) if is_inexact(line)), None)
    if rounded:
        raise InputError(
            f"{file_label}, line {rounded}: not a patient id, but a number rounded by a spreadsheet, such as '1.2E+14'. Export the"
            " list again from its source, with the ids as text."
        )
    return pl.select(whole(pl.lit(pl.Series("id", ids, pl.String)))).to_series().unique().sort()


def can_reuse(previous: Artifact, ids: pl.Series, key: Key | None) -> bool:
    """Return whether a previous artifact can be filtered instead of reading the files again.

    That is so if all patients who were removed are still on the list, and all hashes were made with this key, or without one.
    """
    plain = hash_of(ids)
    old = previous.file(quarantine.WITHOUT_KEY)
    if old.is_file() and not np.isin(np.load(old), plain).all():
        return False
    applied = previous.file(APPLIED)
    files = [*previous.files("quarantine"), *([applied] if applied.is_file() else [])]
    if {secret_key.name_in(path) for path in files} - {"", key.name if key else ""}:
        return False
    return not applied.is_file() or bool(np.isin(_hashes_in(applied), _hashes(plain, key)).all())


def _hashes_in(path: Path) -> NDArray[np.uint64]:
    hashes: NDArray[np.uint64] = schemas.read(path).column("patient_hash").to_numpy()
    return hashes


def _hashes(plain: NDArray[np.uint64], key: Key | None) -> NDArray[np.uint64]:
    return key.hashes(plain) if key else plain


def link(source: Path, out: Path) -> None:
    """Link all files of an artifact into a new one."""
    for path in source.rglob("*"):
        if path.is_file() and path.parent != source:
            target = out / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.link(path, target)


def apply(out: Path, ids: pl.Series, buckets: int, counts: Counts, key: Key | None) -> Counts:
    """Remove patients from the files of an extract that is being built; returns the counts after the removal.

    Their rows are counted as `withdrawn`, even if they were rejected for another reason before. No file is written through a link.
    """
    hashes = hash_of(ids)
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
        _filter_quarantine(path, _hashes(hashes, key if secret_key.name_in(path) else None), events, people)
    if events["kept"]:
        codes.rewrite(out)
    _write_applied(out / APPLIED, np.sort(_hashes(hashes, key)), key)
    counts = _counted(counts, events) | {
        "patients": _counted(counts["patients"], people),
        "entered_in_bulk": counts["entered_in_bulk"] - flagged["kept"],
        **({WAITING: counts[WAITING] - waiting["kept"]} if WAITING in counts else {}),
    }
    dropped = {"events": counts["dropped"], "patients": counts["patients"]["dropped"]}
    (out / REMOVED).write_text(json.dumps(dropped, indent=1) + "\n", encoding="utf-8")
    return counts


def _write_applied(path: Path, hashes: NDArray[np.uint64], key: Key | None) -> None:
    path.unlink(missing_ok=True)  # it may be linked from an artifact that others read
    schema = pa.schema([("patient_hash", pa.uint64())])
    schemas.write(path, pa.table([hashes], schema=secret_key.marked(schema, key) if key else schema))


def _filter_patients(path: Path, ids: pa.Array, removed: Counter[str]) -> None:
    table = schemas.read(path)
    remaining = table.filter(pc.invert(pc.is_in(table.column("patient_id"), value_set=ids)))
    removed["kept"] += table.num_rows - remaining.num_rows
    _replace(path, remaining)


def _filter_events(path: Path, ids: pa.Array, removed: Counter[str]) -> None:
    patient, day, code, ids_of_shard, names = row_keys.from_table(schemas.read(path), "code")
    leaves = pc.is_in(ids_of_shard.cast(pa.string()), value_set=ids).to_numpy(zero_copy_only=False)[patient]
    removed["kept"] += int(leaves.sum())
    keys = row_keys.pack(patient[~leaves], day[~leaves], code[~leaves])
    _replace(path, row_keys.to_table(keys, ids_of_shard, names, "code"))


def _filter_quarantine(path: Path, hashes: NDArray[np.uint64], events: Counter[str], people: Counter[str]) -> None:
    removed = {"events": events, "patients": people}
    listed = pa.array(hashes)

    def filtered(batch: pa.RecordBatch) -> pa.RecordBatch:
        leaves = pc.is_in(batch.column("patient_hash"), value_set=listed)
        gone = batch.filter(leaves)
        for kind, reason in zip(gone.column("kind").to_pylist(), gone.column("reason").to_pylist(), strict=True):
            removed[kind][reason] += 1
        return batch.filter(pc.invert(leaves))

    with pa.memory_map(str(path)) as source:
        schema = pa.ipc.open_file(source).schema
    quarantine.rewrite(path, filtered, schema)


def _replace(path: Path, table: pa.Table) -> None:
    """Rewrite a file: the old one may be linked from an artifact that others read."""
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
