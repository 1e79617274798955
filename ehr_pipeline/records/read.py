"""Read files and write runs (see `shuffle`): on two threads, blocks of text are split into fields, checked and sorted by bucket;
they are written in order."""

import datetime
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.records import events, files, patients, text, values
from ehr_pipeline.records.code_numbers import CodeNumbers
from ehr_pipeline.records.dates import NEVER, DateRules
from ehr_pipeline.records.extract_files import Listing
from ehr_pipeline.records.kinds import EventKind, Kind, Kinds, LinkedKind
from ehr_pipeline.records.layouts import EventFiles
from ehr_pipeline.records.quarantine import Quarantine
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.records.shuffle import Run, Shuffle, by_bucket
from ehr_pipeline.tables import plain_numbers, schemas
from ehr_pipeline.tables.hashing import bucket_of, bucket_of_numbers
from ehr_pipeline.work.buckets import ahead
from ehr_pipeline.work.progress import Progress

NUMBERED, NAMED = "events_numbered", "events_named"
"""Folders of shuffled events: those with numeric patient ids, and others."""


@dataclass(frozen=True)
class Reading:
    """State of reading one extract: its files, settings, quarantine and progress."""

    listing: Listing
    settings: RecordsSettings
    latest: datetime.date
    quarantine: Quarantine
    progress: Progress
    undecodable: Counter[str] = field(default_factory=Counter)
    """Number of patients' values with undecodable bytes, by kind of file and column."""
    partial_dates: Counter[str] = field(default_factory=Counter)
    """Number of dates without a day, read as the middle of their month or year, for events and births."""
    extents: dict[str, text.Extent] = field(default_factory=dict)
    """Amount of text read, for 'events', 'patients' and 'linked' tables."""
    unended: set[str] = field(default_factory=set)
    """Names of text files whose last line has no line end."""

    @property
    def rules(self) -> DateRules:
        """The rules for dates of the extract."""
        return DateRules(self.settings.sentinel_dates, self.latest, self.settings.partial_dates)

    @property
    def kinds(self) -> Kinds:
        """The kinds of files of the extract."""
        return self.listing.kinds

    def note_undecodable(self, kind: Kind, rows: pl.DataFrame) -> None:
        """Count the values with undecodable bytes in rows of a kind of file."""
        counts = patients.undecodable_values(rows, kind.wanted)
        self.undecodable.update({f"{kind.where}: {column}": number for column, number in counts.items() if number})

    def note_partial(self, what: str, is_partial: pl.Series) -> None:
        """Count the dates with only the month or the year."""
        if number := int(is_partial.sum()):
            self.partial_dates[what] += number

    def note_extent(self, what: str, extent: text.Extent) -> None:
        """Add the amount of text in a block."""
        self.extents[what] = self.extents.get(what, text.Extent()) + extent

    def blocks(
        self, kind: Kind, numbers: tuple[str, ...] = ()
    ) -> Iterator[tuple[Path, str, Iterator[Callable[[], text.Block]]]]:
        """Yield path, name, and blocks of each file of a kind."""
        for path in self.listing.files_of(kind):
            size, name = self.settings.block_megabytes << 20, self.listing.name(path)
            note = partial(self.unended.add, name)
            yield (
                path,
                name,
                files.read(path, kind, block_bytes=size, progress=self.progress, numbers=numbers, unended=note),
            )


def shuffle_patients(reading: Reading, into: Path) -> Counter[str]:
    """Shuffle the rows of all patient files. Returns the number of rows (`rows`), and counts of problems by name."""
    settings, count = reading.settings, Counter({"rows": 0})
    attributes = reading.kinds.attributes
    schema = patient_schema(attributes)
    with Shuffle(into, settings.buckets, schema) as shuffle:
        for kind in reading.kinds.patients:
            linked = tuple(_linked(reading, table, count) for table in kind.linked)
            for path, name, blocks in reading.blocks(kind):
                file, line = reading.quarantine.files.index(name), files.first_line(path, kind)
                layout = files.file_layout(path, kind.files)
                for split in blocks:
                    block = split()
                    reading.note_extent("patients", block.extent)
                    rows, unusable = kind.adapted(block.rows)
                    good, rejected = patients.parse(
                        rows, layout, attributes, linked, reading.rules, partial=kind.partial
                    )
                    count["unusable_observation_dates"] += patients.unusable_dates(rows, layout)
                    count["unusable_birth_parts"] += patients.unusable_birth_parts(rows)
                    if linked:
                        count["with_table"] += rows.height
                        count["not_in_table"] += patients.not_in_table(rows, linked)
                    if layout.columns.birth_date:  # precision is 'day' unless the text has no day
                        reading.note_partial("births", good["birth_precision"].is_in(["month", "year"]))
                    reading.note_undecodable(kind, rows)
                    reading.quarantine.add("patients", name, _all(block.rejected, unusable, rejected), line)
                    bucket = bucket_of(good["patient_id"], settings.buckets)
                    shuffle.add(by_bucket(_batch(good, schema), bucket, settings.buckets), file, line)
                    count["rows"] += rows.height + unusable.height + block.rejected.height
                    line += block.lines
    return count


def patient_schema(attributes: tuple[str, ...]) -> pa.Schema:
    """Return the schema of shuffled patients: their columns, and the line within the block."""
    return schemas.patients(attributes).append(pa.field("line", pa.uint32()))


def _linked(reading: Reading, kind: LinkedKind, count: Counter[str]) -> pl.DataFrame:
    """Return the rows of a table that is joined to patients, one per key: the first in sorted order."""
    none = pl.DataFrame(schema=dict.fromkeys(kind.wanted, pl.String))
    parts = [patients.parse_linked(none.insert_column(0, pl.Series("line", [], pl.Int64)), kind.files, DateRules())[0]]
    for path, name, blocks in reading.blocks(kind):
        line, layout = files.first_line(path, kind), files.file_layout(path, kind.files)
        for split in blocks:
            block = split()
            good, rejected = patients.parse_linked(block.rows, layout, reading.rules)
            count["unusable_observation_dates"] += patients.unusable_dates(block.rows, layout)
            reading.note_undecodable(kind, block.rows)
            reading.note_extent("linked", block.extent)
            reading.quarantine.add("linked", name, pl.concat([block.rejected, rejected]), line)
            count["linked_rows"] += block.count
            parts.append(good)
            line += block.lines
    table = pl.concat(parts)
    kept = table.sort(table.columns).unique("key", keep="first", maintain_order=True)
    count["linked_kept"] += kept.height
    return kept


def shuffle_events(reading: Reading, into: Path) -> int:
    """Shuffle the rows of all event files. Returns the number of rows."""
    settings, count, codes = reading.settings, 0, CodeNumbers()
    entered = any(kind.files.columns.entered for kind in reading.kinds.events)
    with (
        Shuffle(into / NUMBERED, settings.buckets, _schema(pa.int64(), entered)) as numbered,
        Shuffle(into / NAMED, settings.buckets, _schema(pa.string(), entered)) as named,
    ):
        for kind in reading.kinds.events:
            prefix = events.prefix(kind.files.code_system)
            columns = kind.files.columns
            numbers = () if columns.further_codes or columns.code_system else ("patient", "code")
            for path, name, blocks in reading.blocks(kind, numbers=numbers):
                file, line = reading.quarantine.files.index(name), files.first_line(path, kind)
                file_kind = replace(kind, files=files.file_layout(path, kind.files))
                for block in ahead(partial(_parse, kind=file_kind, reading=reading, entered=entered), blocks):
                    reading.quarantine.add("events", name, block.rejected, line)
                    reading.note_extent("events", block.extent)
                    if block.plain is not None:
                        numbered.add(_numbered(block.plain, codes, prefix), file, line)
                    if block.others.height:
                        reading.note_partial("events", block.others["middle"])
                        number = codes.from_texts(block.others["code"], prefix)
                        for shuffle, run in zip(
                            (numbered, named), _text_runs(block.others, number, settings.buckets, entered), strict=True
                        ):
                            shuffle.add(run, file, line)
                    count += block.rows
                    line += block.lines
    schemas.write(into / "codes", codes.sorted_table())
    schemas.write(into / "files", pa.table({"file": pa.array(reading.quarantine.files, pa.string())}))
    return count


@dataclass(frozen=True)
class _Parsed:
    """The rows of one block, accepted or rejected. Lines are numbered within the block."""

    plain: Run | None
    """Numeric rows; their codes are not yet replaced by our numbers."""
    others: pl.DataFrame
    """Other good rows."""
    rejected: pl.DataFrame
    lines: int
    rows: int
    """Number of rows of this kind: all, unless another kind reads the same file."""
    extent: text.Extent


def _parse(split: Callable[[], text.Block], kind: EventKind, reading: Reading, entered: bool) -> _Parsed:
    """Split one block into rows, and accept or reject each. Has no side effects, as blocks are processed in parallel."""
    settings, block = reading.settings, split()
    rest, typed, run, row_count = block.rows, block.plain, None, block.count
    unusable = block.rejected
    if kind.adapt:
        rest, more = kind.adapted(rest)
        unusable = pl.concat([unusable, more])
        row_count = rest.height + unusable.height + (typed.height if typed is not None else 0)
    if typed is not None:
        day, usable = events.plain_days(typed, kind.files, reading.rules)
        if words := values.with_digits(kind.no_value):
            usable = usable & ~values.are_words(typed, words).to_numpy()
        if not usable.all():
            to_judge = typed.filter(pl.Series(~usable)).select(
                pl.col(name) if name == "line" else pl.col(name).cast(pl.String).fill_null("").str.strip_chars()
                for name in rest.columns
            )
            rest = pl.concat([rest, values.without_words(to_judge, kind.no_value)])
            typed, day = typed.filter(pl.Series(usable)), day[usable]
        patient, line = typed["patient"].to_numpy(), typed["line"].to_numpy().astype(np.uint32)
        columns = {"patient": patient, "day": day, "code": typed["code"].to_numpy(), "line": line}
        if entered:
            columns["entered"] = events.entered_days(typed, kind.files)
        rows = pa.record_batch(columns, schema=_schema(pa.int64(), entered, code=pa.int64()))
        run = by_bucket(rows, bucket_of_numbers(patient, settings.buckets), settings.buckets)
    others, rejected = (
        events.parse(rest, kind.files, reading.rules)
        if rest.height
        else _no_rows(kind.files, reading.rules, tuple(rest.schema.items()))
    )
    return _Parsed(run, others, _all(unusable, rejected), block.lines, row_count, block.extent)


@lru_cache(maxsize=64)
def _no_rows(
    layout: EventFiles, rules: DateRules, columns: tuple[tuple[str, pl.DataType], ...]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the result of `events.parse` for no rows. Cached, since most blocks need it, and a call takes as long as a thousand
    rows."""
    return events.parse(pl.DataFrame(schema=dict(columns)), layout, rules)


def _all(*rejected: pl.DataFrame) -> pl.DataFrame:
    """Combine rejected lines (line, reason, and patient if it is known)."""
    return pl.concat(rejected, how="diagonal")


def _numbered(run: Run, codes: CodeNumbers, prefix: str) -> Run:
    """Replace the codes of a run by their numbers."""
    place = run.rows.schema.get_field_index("code")
    number = pa.array(codes.from_numbers(run.rows.column(place).to_numpy(), prefix))
    return replace(run, rows=run.rows.set_column(place, pa.field("code", pa.uint32()), number))


def _text_runs(others: pl.DataFrame, code: NDArray[np.uint32], buckets: int, entered: bool) -> tuple[Run, Run]:
    """Split rows that were read as text into two runs: those with numeric patient ids, and the others."""
    told = [others.get_column("entered", default=pl.lit(int(NEVER), pl.Int32).alias("entered"))] if entered else []
    table = others.select("patient", "day", pl.Series("code", code), pl.col("line").cast(pl.UInt32), *told)
    _, is_plain = plain_numbers.numbers(table["patient"])
    parts = table.filter(pl.Series(is_plain)), table.filter(pl.Series(~is_plain))
    runs = [
        by_bucket(_batch(part, _schema(kind, entered)), bucket_of(part["patient"], buckets), buckets)
        for part, kind in zip(parts, (pa.int64(), pa.string()), strict=True)
    ]
    return runs[0], runs[1]


def _schema(patient: pa.DataType, entered: bool, code: pa.DataType = pa.uint32()) -> pa.Schema:  # noqa: B008 (types never change)
    """Return the schema of shuffled events: patient id, day, code number, line from the beginning of the block, day of entry."""
    columns = [("patient", patient), ("day", pa.int32()), ("code", code), ("line", pa.uint32())]
    return pa.schema([*columns, *([("entered", pa.int32())] if entered else [])])


def _batch(frame: pl.DataFrame, schema: pa.Schema) -> pa.RecordBatch:
    """Convert a table to one batch."""
    table = frame.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(schema).combine_chunks()
    return table.to_batches()[0] if table.num_rows else pa.RecordBatch.from_pylist([], schema)
