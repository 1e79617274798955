"""`raw_records`: the text files of one extract to typed, hash-bucketed shards and a quarantine.

The artifact holds, per bucket, `patients/` and `events/` in Arrow, sorted, so that neither the order of rows nor that of
files changes a byte; and `quarantine/`, which names file, line and reason of every rejected row, but not its content.
"""

import datetime
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ehr_pipeline import rows, schemas
from ehr_pipeline.artifacts import Counts
from ehr_pipeline.buckets import map_buckets, shard_name
from ehr_pipeline.errors import InputError, UserError
from ehr_pipeline.progress import Progress
from ehr_pipeline.records import events, patients, text
from ehr_pipeline.records.settings import DelimitedText, RecordsSettings
from ehr_pipeline.records.shuffle import Interned, Shuffle, read_bucket


@dataclass(frozen=True)
class BucketJob:
    """What the work on one bucket needs."""

    bucket: int
    shuffled: Path
    out: Path
    attributes: tuple[str, ...]


def input_files(folder: Path, settings: RecordsSettings) -> list[Path]:
    """All files of an extract that the settings name, sorted. Raises InputError when a kind has none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such extract. It should be a folder inside records.landing.")
    kinds = [*_named("records.patients", settings.patients), *_named("records.events", settings.events)]
    return sorted({path for where, kind in kinds for path in text.find(folder, kind, where)})


def latest_date(extract: str, settings: RecordsSettings) -> datetime.date:
    """The last day that an event of the extract may have. Raises UserError when neither setting nor name tells it."""
    date = patients.latest_day(settings.latest_date, extract)
    if date is None:
        raise UserError(
            f"The extract {extract!r} is not named by a date, so nobody knows which of its dates lie in the future."
            " Name its folder YYYY-MM-DD, or set records.latest_date."
        )
    return date


def build(folder: Path, settings: RecordsSettings, out: Path) -> Counts:
    """Read one extract into `out`. Returns the row counts of events and of patients. Raises InputError for unusable files."""
    latest = latest_date(folder.name, settings)
    shuffled = out / ".shuffled"
    quarantine = _Quarantine(
        out / "quarantine", [path.relative_to(folder).as_posix() for path in input_files(folder, settings)]
    )
    progress = Progress(f"reading extract {folder.name}", _bytes_to_read(folder, settings))
    patient_rows = _shuffle_patients(folder, settings, shuffled / "patients", quarantine, progress)
    event_rows = _shuffle_events(folder, settings, shuffled, latest, quarantine, progress)
    jobs = [BucketJob(bucket, shuffled, out, settings.attributes) for bucket in range(settings.buckets)]
    results = map_buckets(finish_bucket, jobs, settings.workers, f"sorting extract {folder.name}")
    shutil.rmtree(shuffled)
    quarantine.close()
    total: Counter[str] = sum((Counter(result) for result in results), Counter())
    dropped = quarantine.reasons["events"] + Counter(
        {name: total[name] for name in ("unknown_patient", "before_birth") if total[name]}
    )
    if not total["events"]:
        raise InputError(
            f"{folder}: none of the {event_rows:,} event rows can be used. Rejected: {dict(dropped.most_common(5))}."
            " Check columns, date_formats and code_system under [[records.events]], and the patient ids of both kinds of files."
        )
    return {
        "rows_in": event_rows,
        "kept": total["events"],
        "dropped": dict(sorted(dropped.items())),
        "patients": {
            "rows_in": patient_rows,
            "kept": total["patients"],
            "collapsed": total["repeated_patients"],
            "dropped": dict(sorted(quarantine.reasons["patients"].items())),
            "with_differing_rows": total["differing_patients"],
        },
        "files": len(quarantine.files),
        "latest_date": latest.isoformat(),
    }


def _named(section: str, kinds: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    for index, kind in enumerate(kinds):
        yield f"{section}[{index}]", kind


def _bytes_to_read(folder: Path, settings: RecordsSettings) -> int:
    kinds: tuple[DelimitedText, ...] = (*settings.patients, *settings.events)
    return sum(path.stat().st_size for kind in kinds for path in folder.glob(kind.files))


def _shuffle_patients(
    folder: Path, settings: RecordsSettings, into: Path, quarantine: "_Quarantine", progress: Progress
) -> int:
    count = 0
    with Shuffle(into, settings.buckets, "patient_id") as shuffle:
        for where, kind in _named("records.patients", settings.patients):
            columns = patients.wanted_columns(kind)
            for path in text.find(folder, kind, where):
                for block in text.read(path, kind, columns, where, settings.block_megabytes << 20, progress):
                    good, rejected = patients.parse(block.rows, kind, settings.attributes)
                    quarantine.add(
                        "patients", path.relative_to(folder).as_posix(), pl.concat([block.rejected, rejected])
                    )
                    shuffle.add(good)
                    count += block.rows.height + block.rejected.height
    return count


def _shuffle_events(
    folder: Path,
    settings: RecordsSettings,
    into: Path,
    latest: datetime.date,
    quarantine: "_Quarantine",
    progress: Progress,
) -> int:
    count, codes = 0, Interned()
    with Shuffle(into / "events", settings.buckets, "patient") as shuffle:
        for where, kind in _named("records.events", settings.events):
            for path in text.find(folder, kind, where):
                name = path.relative_to(folder).as_posix()
                for block in text.read(path, kind, vars(kind.columns), where, settings.block_megabytes << 20, progress):
                    good, rejected = events.parse(block.rows, kind, settings.sentinel_dates, latest)
                    quarantine.add("events", name, pl.concat([block.rejected, rejected]))
                    number = pl.lit(quarantine.files.index(name), dtype=pl.Int32)
                    shuffle.add(good.with_columns(code=codes.numbers(good["code"]), file=number))
                    count += block.rows.height + block.rejected.height
    schemas.write(into / "codes", codes.sorted_table())
    schemas.write(into / "files", pa.table({"file": pa.array(quarantine.files, pa.string())}))
    return count


def finish_bucket(job: BucketJob) -> dict[str, int]:
    """Join the events of a bucket to its patients, reject what does not fit, and write both sorted."""
    people, repeated, differing = _finish_patients(job)
    counts = {"patients": people.height, "repeated_patients": repeated, "differing_patients": differing, "events": 0}
    codes = schemas.read(job.shuffled / "codes")
    rank = codes.column("rank").to_numpy()
    keys = np.empty(0, np.uint64)
    frame = read_bucket(job.shuffled / "events", job.bucket)
    ids = pa.array(people["patient_id"].to_list(), pa.string())
    if frame is not None:
        place = pc.index_in(frame["patient"].to_arrow().cast(pa.string()), value_set=ids)
        known = place.is_valid().to_numpy(zero_copy_only=False)
        patient = place.fill_null(0).to_numpy().astype(np.int32)
        day = frame["day"].to_numpy()
        alive = np.zeros(len(known), bool)
        if people.height:
            first = patients.earliest_day(people["birth_date"], people["birth_precision"]).to_numpy()
            alive = day >= first[patient]
        reason = np.where(~known, "unknown_patient", np.where(~alive, "before_birth", ""))
        kept = known & alive
        _quarantine_bucket(job, frame.filter(pl.Series(~kept)), reason[~kept])
        counts |= {name: int((reason == name).sum()) for name in ("unknown_patient", "before_birth")}
        keys = np.sort(rows.pack(patient[kept], day[kept], rank[frame["code"].to_numpy()[kept]]))
    names = codes.column("code").combine_chunks()
    schemas.write(job.out / "events" / shard_name(job.bucket), rows.to_table(keys, ids, names, "code"))
    return counts | {"events": len(keys)}


def _finish_patients(job: BucketJob) -> tuple[pl.DataFrame, int, int]:
    frame = read_bucket(job.shuffled / "patients", job.bucket)
    schema = schemas.patients(job.attributes)
    if frame is None:
        empty = pl.from_arrow(schema.empty_table())
        assert isinstance(empty, pl.DataFrame)
        frame = empty
    if frame.height >= 2**rows.PATIENT_BITS:
        raise UserError(
            f"A bucket holds {frame.height:,} rows of patients, more than it can number. Raise records.buckets."
        )
    people, repeated, differing = patients.one_row_each(frame)
    schemas.write(job.out / "patients" / shard_name(job.bucket), people.to_arrow().cast(schema))
    return people, repeated, differing


def _quarantine_bucket(job: BucketJob, frame: pl.DataFrame, reason: Any) -> None:
    if not frame.height:
        return
    files = schemas.read(job.shuffled / "files").column("file").combine_chunks()
    columns = [files.take(frame["file"].to_arrow()), frame["line"].to_arrow(), pa.array(reason, pa.string())]
    schemas.write(job.out / "quarantine" / shard_name(job.bucket), pa.table(columns, schema=schemas.QUARANTINE))


class _Quarantine:
    """File, line and reason of the rows that were rejected while they were read."""

    def __init__(self, folder: Path, files: list[str]):
        self.files = files
        self.reasons: dict[str, Counter[str]] = {"events": Counter(), "patients": Counter()}
        folder.mkdir()
        self._writer = pa.ipc.new_file(str(folder / "text.arrow"), schemas.QUARANTINE)

    def add(self, kind: str, file: str, rejected: pl.DataFrame) -> None:
        """Count and write down rejected lines (line, reason)."""
        if rejected.height:
            self.reasons[kind].update(dict(rejected["reason"].value_counts().iter_rows()))
            table = rejected.select(pl.lit(file).alias("file"), "line", "reason").to_arrow().cast(schemas.QUARANTINE)
            self._writer.write_table(table)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
