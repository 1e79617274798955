"""From files to runs: blocks of text are split, judged and sorted by bucket on two threads, and written in their order."""

import datetime
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline import plain, schemas
from ehr_pipeline.buckets import ahead
from ehr_pipeline.progress import Progress
from ehr_pipeline.records import events, patients, text
from ehr_pipeline.records.hashing import bucket_of, bucket_of_numbers
from ehr_pipeline.records.interned import Interned
from ehr_pipeline.records.quarantine import Quarantine
from ehr_pipeline.records.settings import EventFiles, RecordsSettings
from ehr_pipeline.records.shuffle import Run, Shuffle, by_bucket

NUMBERED, NAMED = "events_numbered", "events_named"
"""Shuffled events, by whether their patient id is a plain number."""


@dataclass(frozen=True)
class Reading:
    """One extract that is being read: its folder, the settings, what becomes of rejected rows, how far it is."""

    folder: Path
    settings: RecordsSettings
    latest: datetime.date
    quarantine: Quarantine
    progress: Progress

    def blocks(
        self, section: str, kind: Any, columns: dict[str, str], numbers: tuple[str, ...] = ()
    ) -> Iterator[tuple[str, Iterator[Callable[[], text.Block]]]]:
        """The files of a kind, each with its blocks."""
        for path in text.find(self.folder, kind, section):
            size = self.settings.block_megabytes << 20
            name = path.relative_to(self.folder).as_posix()
            yield name, text.read(path, kind, columns, section, size, self.progress, numbers)


def shuffle_patients(reading: Reading, into: Path) -> int:
    """Shuffle the rows of all patient files. Returns how many rows there were."""
    settings, count = reading.settings, 0
    schema = schemas.patients(settings.attributes)
    with Shuffle(into, settings.buckets, schema) as shuffle:
        for section, kind in named_kinds("records.patients", settings.patients):
            for name, blocks in reading.blocks(section, kind, patients.wanted_columns(kind)):
                line = text.first_line(kind)
                for split in blocks:
                    block = split()
                    good, rejected = patients.parse(block.rows, kind, settings.attributes)
                    reading.quarantine.add(
                        "patients", name, pl.concat([block.rejected, rejected], how="diagonal"), line
                    )
                    bucket = bucket_of(good["patient_id"], settings.buckets)
                    shuffle.add(by_bucket(_batch(good, schema), bucket, settings.buckets))
                    count += block.lines
                    line += block.lines
    return count


def shuffle_events(reading: Reading, into: Path) -> int:
    """Shuffle the rows of all event files. Returns how many rows there were."""
    settings, count, codes = reading.settings, 0, Interned()
    with (
        Shuffle(into / NUMBERED, settings.buckets, _schema(pa.int64())) as numbered,
        Shuffle(into / NAMED, settings.buckets, _schema(pa.string())) as named,
    ):
        for section, kind in named_kinds("records.events", settings.events):
            prefix = "" if kind.code_system == "snomed" else f"{kind.code_system}:"
            columns = vars(kind.columns)
            for name, blocks in reading.blocks(section, kind, columns, numbers=("patient", "code")):
                file, line = reading.quarantine.files.index(name), text.first_line(kind)
                for block in ahead(partial(_parse, kind=kind, settings=settings, latest=reading.latest), blocks):
                    reading.quarantine.add("events", name, block.rejected, line)
                    if block.plain is not None:
                        numbered.add(_numbered(block.plain, codes, prefix), file, line)
                    if block.others.height:
                        number = codes.of_texts(block.others["code"], prefix)
                        for shuffle, run in zip(
                            (numbered, named), _others(block.others, number, settings), strict=True
                        ):
                            shuffle.add(run, file, line)
                    count += block.lines
                    line += block.lines
    schemas.write(into / "codes", codes.sorted_table())
    schemas.write(into / "files", pa.table({"file": pa.array(reading.quarantine.files, pa.string())}))
    return count


def named_kinds(section: str, kinds: tuple[Any, ...]) -> Iterator[tuple[str, Any]]:
    """Each kind of file with the section of the settings that describes it."""
    for index, kind in enumerate(kinds):
        yield f"{section}[{index}]", kind


@dataclass(frozen=True)
class _Parsed:
    """The rows of one block, judged. Lines count from the beginning of the block."""

    plain: Run | None
    """Rows of plain numbers, of which the codes have no numbers of ours yet."""
    others: pl.DataFrame
    """Other good rows."""
    rejected: pl.DataFrame
    lines: int


def _parse(
    split: Callable[[], text.Block], kind: EventFiles, settings: RecordsSettings, latest: datetime.date
) -> _Parsed:
    """Split and judge one block. Pure: blocks are worked on side by side."""
    block = split()
    rest, typed, run = block.rows, block.plain, None
    if typed is not None:
        day, usable = events.plain_days(typed, kind, settings.sentinel_dates, latest)
        if not usable.all():
            unusable = typed.filter(pl.Series(~usable)).select(
                pl.col(name) if name == "line" else pl.col(name).cast(pl.String).str.strip_chars()
                for name in rest.columns
            )
            rest, typed, day = pl.concat([rest, unusable]), typed.filter(pl.Series(usable)), day[usable]
        patient, line = typed["patient"].to_numpy(), typed["line"].to_numpy().astype(np.uint32)
        rows = _rows(patient, day, typed["code"].to_numpy(), line, pa.int64(), pa.int64())
        run = by_bucket(rows, bucket_of_numbers(patient, settings.buckets), settings.buckets)
    others, rejected = events.parse(rest, kind, settings.sentinel_dates, latest)
    return _Parsed(run, others, pl.concat([block.rejected, rejected], how="diagonal"), block.lines)


def _numbered(run: Run, codes: Interned, prefix: str) -> Run:
    """A run of which the codes have their numbers."""
    patient, day, code, line = (column.to_numpy() for column in run.rows.columns)
    return replace(run, rows=_rows(patient, day, codes.of_numbers(code, prefix), line, pa.int64()))


def _others(others: pl.DataFrame, code: NDArray[np.uint32], settings: RecordsSettings) -> tuple[Run, Run]:
    """Rows that were read as text as two runs: of patient ids that are plain numbers, and of the others."""
    table = others.select("patient", "day", pl.Series("code", code), pl.col("line").cast(pl.UInt32))
    _, is_plain = plain.numbers(table["patient"])
    parts = table.filter(pl.Series(is_plain)), table.filter(pl.Series(~is_plain))
    runs = [
        by_bucket(_batch(part, _schema(kind)), bucket_of(part["patient"], settings.buckets), settings.buckets)
        for part, kind in zip(parts, (pa.int64(), pa.string()), strict=True)
    ]
    return runs[0], runs[1]


def _schema(patient: pa.DataType, code: pa.DataType = pa.uint32()) -> pa.Schema:  # noqa: B008 (types never change)
    """Shuffled events: patient id, days from 1970-01-01, number of the code, line from the beginning of the block."""
    return pa.schema([("patient", patient), ("day", pa.int32()), ("code", code), ("line", pa.uint32())])


def _rows(patient: Any, day: Any, code: Any, line: Any, *types: pa.DataType) -> pa.RecordBatch:
    return pa.record_batch([pa.array(values) for values in (patient, day, code, line)], schema=_schema(*types))


def _batch(frame: pl.DataFrame, schema: pa.Schema) -> pa.RecordBatch:
    """A table as one batch."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema).combine_chunks()
    return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema)
