"""Check the first rows of files before any long work starts: can they be read, and do they have readable dates?"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import polars as pl

from ehr_pipeline.disclosure.figures import FEWEST
from ehr_pipeline.records import dates, files, patients, sample
from ehr_pipeline.records.dates import DateRules
from ehr_pipeline.records.kinds import EventKind, Kind, LinkedKind, PatientKind
from ehr_pipeline.records.layouts import setting as setting_of
from ehr_pipeline.records.sample import Sample
from ehr_pipeline.records.settings import Limits, RecordsSettings
from ehr_pipeline.tables.drop_reasons import in_words
from ehr_pipeline.work.progress import Progress

ANY_DATE = DateRules()
HEAD_BYTES, BLOCKS = 1 << 17, 2
"""Size and maximum number of the blocks read from a file. A line that is too long is a separate block."""
ATTRIBUTE = "attribute:"
"""Prefix of the names of columns with patients' attributes."""
Level = Literal["problems", "warnings", "facts"]
"""How serious a finding is."""
MISREAD_SHARE = 0.5
"""Share of misread rows at which a file does not match the settings."""
MIN_ROWS = 10
"""Minimum number of rows for reporting a bad file although other files of its kind have readable dates."""


@dataclass(frozen=True)
class FirstRows:
    """The first rows of a file, read as rows of one kind."""

    path: Path
    whole: bool
    """Whether these are all rows of the file."""
    rows: int
    """Number of rows of the kind, including rejected ones."""
    reason: str
    """The most frequent reason for rejection, if all rows are rejected; otherwise empty."""
    dated: int
    """Number of rows with a value in the date column."""
    readable: int
    """Number of rows with a readable date."""
    sample: Sample
    """The result of checking the rows as the reader does."""
    attributes: Mapping[str, list[str]] = field(default_factory=dict, repr=False)
    """The values of the patients' attributes in the file, by name of the attribute."""

    @property
    def is_empty(self) -> bool:
        """Whether the file has no rows of its kind."""
        return self.whole and not self.rows


def first_rows(path: Path, kind: Kind, rules: DateRules = ANY_DATE, below: int = FEWEST) -> FirstRows:
    """Read and check the first rows of a file; values of fewer than `below` patients are not shown.

    Raises InputError for a file that cannot be read, or that does not match the settings.
    """
    blocks, line = [], files.first_line(path, kind)
    for split in islice(files.read(path, kind, block_bytes=HEAD_BYTES, progress=Progress(path.name, 1)), BLOCKS + 1):
        block = split()
        blocks.append(block.after(line))
        line += block.lines
    whole, blocks = len(blocks) <= BLOCKS, blocks[:BLOCKS]
    if not blocks:
        return FirstRows(path, whole, 0, "", 0, 0, Sample(path, kind.where))
    rows, rejected = (pl.concat(getattr(block, part) for block in blocks) for part in ("rows", "rejected"))
    warnings, facts = tuple[str, ...](), tuple[str, ...]()
    if isinstance(kind, EventKind | PatientKind) and kind.adapt:
        warnings, facts = kind.describe(rows, below) if kind.describe else ((), ())
        rows, unusable = kind.adapted(rows)
        rejected = pl.concat([rejected, unusable])
    reason = "" if rows.height or not rejected.height else str(rejected["reason"].mode().sort()[0])
    dated, readable = _dates(rows, path, kind)
    attributes = {
        name.removeprefix(ATTRIBUTE): rows[name].fill_null("").to_list()
        for name in rows.columns
        if name.startswith(ATTRIBUTE)
    }
    result = sample.check_rows(path, kind, rows, rejected, rules, below=below)
    result = replace(result, notes=(*result.notes, *warnings), remarks=(*result.remarks, *facts))
    return FirstRows(path, whole, rows.height + rejected.height, reason, dated, readable, result, attributes)


def problems(kind: Kind, seen: list[FirstRows]) -> Iterator[str]:
    """Yield a message for each file of a kind if none of its first rows can be used.

    A file with only a few rows, all bad, is not a problem if other files of its kind are good: its rows are rejected and counted
    when it is read.
    """
    bad = [one for one in seen if is_bad(one, kind)]
    alone = len(bad) == sum(one.rows > 0 for one in seen)
    for one in bad:
        if not alone and one.rows < MIN_ROWS:
            continue
        if one.reason:
            shape = f", {text}" if (text := one.sample.describe(one.reason)) else ""
            why = f"{in_words(one.reason)}{shape}"
            yield f"{one.path}: none of its first rows can be read: {why} ({kind.where}). Is it such a file?"
        else:
            shape = one.sample.describe("unparsable_date") or one.sample.describe("unparsable_birth")
            yield f"{one.path}: none of its first rows has {_expected(one.path, kind)}.{f' Found: {shape}.' if shape else ''}"


def empty_files(kind: Kind, seen: list[FirstRows]) -> Iterator[str]:
    """Yield a message for each file without rows if others of its kind have some: its export may have failed."""
    if isinstance(kind, EventKind | PatientKind) and kind.adapt:  # rows may be of another kind that reads the same file
        return
    if any(not one.is_empty for one in seen):
        for one in seen:
            if one.is_empty:
                yield f"{one.path}: no row below the header, though other files of {kind.where} have rows. Is it complete?"


def is_bad(seen: FirstRows, kind: Kind) -> bool:
    """Return whether none of the first rows can be used. If more rows follow, rows without a date do not count."""
    if not seen.rows or seen.readable:
        return False
    if seen.reason:
        return True
    adds = isinstance(kind, PatientKind) and kind.partial  # rows without a birth add to others
    return has_dates(kind) and (seen.dated > 0 or (seen.whole and not adds))


def has_dates(kind: Kind) -> bool:
    """Return whether a kind of file contains events, or defines who is a patient."""
    return _date_column(kind) != ""


def _date_column(kind: Kind) -> str:
    """Return the name, in the settings, of the column with the date of an event or the birth of a patient; or empty."""
    if isinstance(kind, EventKind):
        return "date"
    if isinstance(kind, PatientKind) and kind.files.columns.has_birth:
        return "birth_date" if kind.files.columns.birth_date else "birth_year"
    return ""


def _dates(rows: pl.DataFrame, path: Path, kind: Kind) -> tuple[int, int]:
    """Return how many rows have a value in the date column, and how many have a readable date."""
    column = _date_column(kind)
    if not column:
        return 0, 0
    date = dates.parse(pl.col(column), files.file_layout(path, kind.files).date_formats)
    if isinstance(kind, PatientKind):
        date, _ = patients.birth(files.file_layout(path, kind.files), dates.DateRules())
    dated, readable = rows.select(told=(pl.col(column) != "").sum(), readable=date.is_not_null().sum()).row(0)
    return int(dated), int(readable)


def _expected(path: Path, kind: Kind) -> str:
    """Describe the expected value, its column, and the column's setting."""
    column = _date_column(kind)
    setting = f"column {kind.wanted.get(column, column)!r} ({setting_of(kind.where, f'columns.{column}')})"
    if column == "birth_year":
        return f"a year of birth that can be read in {setting}: four digits, from 1800 on. Correct the setting"
    formats = ", ".join(repr(form) for form in files.file_layout(path, kind.files).date_formats)
    named = setting_of(kind.where, "date_formats")
    return f"a date that can be read in {setting}. Tried: {formats} ({named}). Correct the settings"


def rules(extract: str, settings: RecordsSettings) -> DateRules:
    """Return the rules for dates of an extract, as far as its name and the settings determine them."""
    latest = patients.latest_day(settings.latest_date, extract)
    return DateRules(settings.sentinel_dates, latest, settings.partial_dates)


def losses(seen: list[tuple[Kind, list[FirstRows]]], limits: Limits, below: int) -> Iterator[tuple[Level, str]]:
    """Yield a message, with its level, for each loss of rows among the first rows of files.

    A loss is a problem if the run would probably stop because of it: if the lost share of events or of patients reaches the limit
    in `limits`, or if at least half of the first rows of a file are misread. Rows without a date count only if the whole file was
    read, since they may come first in a sorted file.
    """
    for needed in (EventKind, PatientKind, LinkedKind):
        looks_of_kind = [(kind, one) for kind, looks in seen if isinstance(kind, needed) for one in looks]
        rows, lost = (sum(getattr(one.sample, name) for _, one in looks_of_kind) for name in ("rows", "lost"))
        seen_whole = needed is not LinkedKind and all(one.whole for _, one in looks_of_kind)
        stops = seen_whole and lost >= max(FEWEST, limits.rejected_error * rows)
        all_misread = _share("misread", [one for _, one in looks_of_kind])
        all_unread = _share("unread_sex", [one for _, one in looks_of_kind])
        for kind, one in looks_of_kind:
            result = one.sample
            if result.lost and not is_bad(one, kind):
                misread = _reaches(result.misread, result, limits.rejected_error, all_misread)
                few = result.lost < limits.rejected_warning * result.rows and not result.lost_in_quotes
                yield "problems" if stops or misread else "facts" if few else "warnings", result.message(below)
            if result.unread_sex:
                unread = _reaches(result.unread_sex, result, limits.not_understood_error, all_unread)
                yield "problems" if unread else "warnings", f"{result.path}: {result.sex}"
            yield from (("warnings", f"{result.path}: {note}") for note in result.notes)
            yield from (("facts", f"{result.path}: {remark}") for remark in result.remarks)


def _share(name: str, looks: list[FirstRows]) -> float:
    """Estimate the share of rows in the count `name` over some files. A file that was not read whole is weighted by its size."""
    weights = [1.0 if one.whole else max(1.0, one.path.stat().st_size / (HEAD_BYTES * BLOCKS)) for one in looks]
    rows = sum(weight * one.sample.rows for weight, one in zip(weights, looks, strict=True))
    counted = sum(weight * getattr(one.sample, name) for weight, one in zip(weights, looks, strict=True))
    return float(counted / rows) if rows else 0.0


def _reaches(rows: int, judged: Sample, limit: float, of_all: float) -> bool:
    """Return whether `rows`, the number of a file's first rows that are affected, is too high.

    It is if their share, and the share in all files of the kind (`of_all`), reach `limit`; or if most of the first rows are
    affected.
    """
    stops = of_all >= limit and rows >= max(FEWEST, limit * judged.rows)
    return stops or _most_rows(rows, judged, limit)


def _most_rows(rows: int, judged: Sample, limit: float) -> bool:
    """Return whether a file has at least MIN_ROWS first rows, and `rows` are at least half, and the share `limit`, of them."""
    return judged.rows >= MIN_ROWS and rows >= max(limit, MISREAD_SHARE) * judged.rows
