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
"""Size and maximum number of the blocks that are read of a file. A line that is too long is a block of its own."""
ATTRIBUTE = "attribute:"
"""Prefix of the names of columns that hold patients' attributes."""
Level = Literal["problems", "warnings", "facts"]
"""How much a finding matters."""
MOST = 0.5
"""Share of misread rows at which a file counts as different from what the settings describe."""
ENOUGH = 10
"""Least number of rows for which a bad file is reported although other files of its kind have readable dates."""


@dataclass(frozen=True)
class FirstRows:
    """What the first rows of a file contain, read as rows of one kind."""

    path: Path
    whole: bool
    """Whether these are all rows of the file."""
    rows: int
    """Number of rows of the kind, including rejected ones."""
    reason: str
    """The most frequent reason for rejection, if all rows are rejected; otherwise empty."""
    told: int
    """Number of rows with a value in the date column."""
    readable: int
    """Number of rows with a readable date."""
    sample: Sample
    """The result of judging the rows as the reader does."""
    attributes: Mapping[str, list[str]] = field(default_factory=dict, repr=False)
    """The values of the patients' attributes in the file, by name of the attribute."""

    @property
    def is_empty(self) -> bool:
        """Whether the file has no rows of its kind."""
        return self.whole and not self.rows


def first_rows(path: Path, kind: Kind, rules: DateRules = ANY_DATE, below: int = FEWEST) -> FirstRows:
    """Read and judge the first rows of a file; values that fewer than `below` patients have are not shown.

    Raises InputError for a file that cannot be read, or that is not as the settings describe it.
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
        warnings, facts = kind.said(rows, below) if kind.said else ((), ())
        rows, unusable = kind.adapted(rows)
        rejected = pl.concat([rejected, unusable])
    reason = "" if rows.height or not rejected.height else str(rejected["reason"].mode().sort()[0])
    told, readable = _dates(rows, path, kind)
    carried = {
        name.removeprefix(ATTRIBUTE): rows[name].fill_null("").to_list()
        for name in rows.columns
        if name.startswith(ATTRIBUTE)
    }
    judged = sample.of_rows(path, kind, rows, rejected, rules, below=below)
    judged = replace(judged, notes=(*judged.notes, *warnings), remarks=(*judged.remarks, *facts))
    return FirstRows(path, whole, rows.height + rejected.height, reason, told, readable, judged, carried)


def problems(kind: Kind, seen: list[FirstRows]) -> Iterator[str]:
    """Yield a message for each file of a kind in which none of the first rows can be used.

    A file that has only a few rows, all of them bad, is no problem if other files of its kind are good: its rows are rejected and
    counted when it is read.
    """
    bad = [one for one in seen if is_bad(one, kind)]
    alone = len(bad) == sum(one.rows > 0 for one in seen)
    for one in bad:
        if not alone and one.rows < ENOUGH:
            continue
        if one.reason:
            found = f", {text}" if (text := one.sample.describe(one.reason)) else ""
            why = f"{in_words(one.reason)}{found}"
            yield f"{one.path}: none of its first rows can be read: {why} ({kind.where}). Is it such a file?"
        else:
            found = one.sample.describe("unparsable_date") or one.sample.describe("unparsable_birth")
            yield f"{one.path}: none of its first rows has {_expected(one.path, kind)}.{f' Found: {found}.' if found else ''}"


def empty_files(kind: Kind, seen: list[FirstRows]) -> Iterator[str]:
    """Yield a message for each file without rows, if others of its kind have some: its export may have ended early."""
    if isinstance(kind, EventKind | PatientKind) and kind.adapt:  # rows may be of another kind that reads the same file
        return
    if any(not one.is_empty for one in seen):
        for one in seen:
            if one.is_empty:
                yield f"{one.path}: no row below the header, though other files of {kind.where} have rows. Is it complete?"


def is_bad(seen: FirstRows, kind: Kind) -> bool:
    """Return whether none of the first rows can be used. Rows without a date prove nothing if more rows follow."""
    if not seen.rows or seen.readable:
        return False
    if seen.reason:
        return True
    adds = isinstance(kind, PatientKind) and kind.partial  # rows without a birth add to others
    return tells(kind) and (seen.told > 0 or (seen.whole and not adds))


def tells(kind: Kind) -> bool:
    """Return whether a kind of file contains events, or defines who is a patient."""
    return _date_column(kind) != ""


def _date_column(kind: Kind) -> str:
    """Return the name, in the settings, of the column with the date of an event or the birth of a patient; or empty."""
    if isinstance(kind, EventKind):
        return "date"
    if isinstance(kind, PatientKind) and kind.files.columns.tell_birth:
        return "birth_date" if kind.files.columns.birth_date else "birth_year"
    return ""


def _dates(rows: pl.DataFrame, path: Path, kind: Kind) -> tuple[int, int]:
    """Return how many rows have a value in the date column, and how many have a readable date."""
    column = _date_column(kind)
    if not column:
        return 0, 0
    date = dates.parse(pl.col(column), files.as_read(path, kind.files).date_formats)
    if isinstance(kind, PatientKind):
        date, _ = patients.birth(files.as_read(path, kind.files), dates.DateRules())
    told, readable = rows.select(told=(pl.col(column) != "").sum(), readable=date.is_not_null().sum()).row(0)
    return int(told), int(readable)


def _expected(path: Path, kind: Kind) -> str:
    """Describe the value that was looked for, the column, and the setting that names it."""
    column = _date_column(kind)
    setting = f"column {kind.wanted.get(column, column)!r} ({setting_of(kind.where, f'columns.{column}')})"
    if column == "birth_year":
        return f"a year of birth that can be read in {setting}: four digits, from 1800 on. Correct the setting"
    formats = ", ".join(repr(form) for form in files.as_read(path, kind.files).date_formats)
    named = setting_of(kind.where, "date_formats")
    return f"a date that can be read in {setting}. Tried: {formats} ({named}). Correct the settings"


def rules(extract: str, settings: RecordsSettings) -> DateRules:
    """Return the rules for dates of an extract, as far as its name and the settings give them."""
    latest = patients.latest_day(settings.latest_date, extract)
    return DateRules(settings.sentinel_dates, latest, settings.partial_dates)


def losses(seen: list[tuple[Kind, list[FirstRows]]], limits: Limits, below: int) -> Iterator[tuple[Level, str]]:
    """Yield a message about each loss in the first rows of files, with its level.

    A loss is a problem if the first rows suggest that the run would stop because of it. That is so if the share of events, or
    of patients, that is lost reaches the limit in `limits`, or if at least half of the first rows of one file are misread. Rows
    without a date only count where a file was seen whole, since they may come first in a sorted file.
    """
    for needed in (EventKind, PatientKind, LinkedKind):
        own = [(kind, one) for kind, looks in seen if isinstance(kind, needed) for one in looks]
        rows, lost = (sum(getattr(one.sample, name) for _, one in own) for name in ("rows", "lost"))
        seen_whole = needed is not LinkedKind and all(one.whole for _, one in own)
        stops = seen_whole and lost >= max(FEWEST, limits.rejected_error * rows)
        all_misread = _share("misread", [one for _, one in own])
        all_unread = _share("unread_sex", [one for _, one in own])
        for kind, one in own:
            judged = one.sample
            if judged.lost and not is_bad(one, kind):
                misread = _reaches(judged.misread, judged, limits.rejected_error, all_misread)
                few = judged.lost < limits.rejected_warning * judged.rows and not judged.lost_in_quotes
                yield "problems" if stops or misread else "facts" if few else "warnings", judged.message(below)
            if judged.unread_sex:
                unread = _reaches(judged.unread_sex, judged, limits.not_understood_error, all_unread)
                yield "problems" if unread else "warnings", f"{judged.path}: {judged.sex}"
            yield from (("warnings", f"{judged.path}: {note}") for note in judged.notes)
            yield from (("facts", f"{judged.path}: {remark}") for remark in judged.remarks)


def _share(name: str, looks: list[FirstRows]) -> float:
    """Estimate the share of the rows to which the count `name` applies, over some files. A file that was not read whole is weighted
    by its size."""
    weights = [1.0 if one.whole else max(1.0, one.path.stat().st_size / (HEAD_BYTES * BLOCKS)) for one in looks]
    rows = sum(weight * one.sample.rows for weight, one in zip(weights, looks, strict=True))
    counted = sum(weight * getattr(one.sample, name) for weight, one in zip(weights, looks, strict=True))
    return float(counted / rows) if rows else 0.0


def _reaches(rows: int, judged: Sample, limit: float, of_all: float) -> bool:
    """Return whether too many of a file's first rows are affected: `rows` of them.

    Either their share reaches `limit`, as does the share in all files of its kind (`of_all`); or most of the first rows are
    affected."""
    stops = of_all >= limit and rows >= max(FEWEST, limit * judged.rows)
    return stops or _most(rows, judged, limit)


def _most(rows: int, judged: Sample, limit: float) -> bool:
    """Return whether a file has enough first rows to be judged, and `rows` are at least half, and the share `limit`, of them."""
    return judged.rows >= ENOUGH and rows >= max(limit, MOST) * judged.rows
