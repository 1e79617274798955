"""Check the first rows of a file as the reader does: which are rejected, why, what they contain, and what to do.

Values are patient data, so only their shape is shown, such as '99/99/9999' or 'Aaaaa'. The only exception is the sex: a value is
shown if enough patients have it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from ehr_pipeline.disclosure.figures import FEWEST
from ehr_pipeline.records import dates, events, files, ids, patients, values, wrong_field_counts
from ehr_pipeline.records.dates import DateRules
from ehr_pipeline.records.kinds import EventKind, Kind, LinkedKind, PatientKind
from ehr_pipeline.records.layouts import has_setting, setting
from ehr_pipeline.records.quoting import QUOTE
from ehr_pipeline.tables.drop_reasons import NOT_LOST, in_words, remedy

MAX_SHAPE, MAX_REASONS = 24, 3
"""Maximum characters of a shape, and maximum reasons per file, in a message."""
DAYS = (
    *(
        "%d/%m/%Y",
        "%m/%d/%Y",
        "%d-%m-%Y",
        "%m-%d-%Y",
        "%d.%m.%Y",
        "%d-%b-%Y",
        "%d %B %Y",
        "%d%b%Y",
        "%Y/%m/%d",
        "%Y/%d/%m",
    ),
    *("%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%d-%b-%y"),
)
TIMES = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
FORMATS = ("iso", *(day + time for time in TIMES for day in DAYS), "%d%m%Y", "%d%b%Y:%H:%M:%S")
"""Date formats to suggest, the most usual first."""
MIN_DATES = 0.5
"""If more than this share of a column's values are dates, it is taken for a column of dates."""
MIN_YEARS = 3
"""If births from at least this many years all fall on one day of the year, this is reported."""
ROUNDED_SHARE = 0.5
"""Share of long numbers ending in zeros at which this is reported."""
SERIALS = (20_000, 60_000)
"""Day numbers of a spreadsheet for dates from 1954 to 2064."""


def _few(count: int, below: int) -> str:
    """Format a count of a file's first rows: exact unless small. No other figure counts these rows, so subtraction cannot reveal
    it."""
    return f"fewer than {below}" if 0 < count < below else f"{count:,}"


@dataclass(frozen=True)
class Rejects:
    """The first rows of a file that are rejected for the same reason."""

    reason: str
    rows: int
    line: int
    """Line of the first of these rows."""
    content: str = ""
    """What these rows contain, in words; may be empty."""


@dataclass(frozen=True)
class Sample:
    """The result of checking the first rows of a file."""

    path: Path
    where: str
    """The section of the settings for the file."""
    rows: int = 0
    """Number of rows, without lines that are not rows."""
    rejects: tuple[Rejects, ...] = ()
    """Rejected rows by reason, the most frequent first, without reasons that are not a loss."""
    unread_sex: int = 0
    """Number of rows with a sex that is not understood."""
    sex: str = ""
    """The message about these rows, without the path at its beginning."""
    notes: tuple[str, ...] = ()
    """Other messages, without the path at their beginning."""
    remarks: tuple[str, ...] = ()
    """Messages that require no action, without the path at their beginning."""

    @property
    def lost(self) -> int:
        """Number of rejected rows."""
        return sum(one.rows for one in self.rejects)

    @property
    def misread(self) -> int:
        """Number of rejected rows without those with a missing value or placeholder, which may come first in a sorted file."""
        return sum(one.rows for one in self.rejects if not one.reason.startswith(("missing_", "sentinel_")))

    @property
    def lost_in_quotes(self) -> bool:
        """Whether rows are rejected because the settings have no quoting character."""
        return wrong_field_counts.IN_QUOTES in self.describe("wrong_number_of_fields")

    def describe(self, reason: str) -> str:
        """Return what the rows rejected for this reason contain, in words; empty if there are none."""
        return next((one.content for one in self.rejects if one.reason == reason), "")

    def message(self, below: int) -> str:
        """Return the message: how many of the rows are rejected, why, what they contain, and what to do."""
        rejected = self.lost / self.rows
        share = f" ({rejected:.{0 if rejected >= 0.01 else 1}%})" if self.lost >= below else ""
        of = f"{self.rows:,} " if self.rows >= below else ""
        parts = [self._part(one) for one in self.rejects[:MAX_REASONS]]
        return f"{self.path}: {_few(self.lost, below)} of its first {of}rows are rejected{share}: {'; '.join(parts)}."

    def _part(self, one: Rejects) -> str:
        found = f", {one.content}" if one.content else ""
        return f"{in_words(one.reason)}{found} (first in line {one.line:,}): {self.cure(one.reason)}"

    def cure(self, reason: str) -> str:
        """Return what to do about a reason, with the settings of this file. Advice on settings that this kind of file lacks is left
        out."""
        parts = {part: re.findall(r"`([^`]+)`", part) for part in remedy(reason).split("; ")}
        usable = {part: names for part, names in parts.items() if all(map(self._has, names))}
        text = "; ".join(usable)
        if any(parts.values()) and not any(usable.values()):
            if reason in ("missing_code", "missing_date"):
                none = "empty, or 0 for no matching concept" if self.where.startswith("records.omop") else "empty"
                return f"the file has no value there ({none}); nothing to do, unless the export lost them"
            return f"have the file exported in the layout {self.where}"
        return re.sub(r"`([^`]+)`", lambda m: m[1] if m[1].startswith("records.") else setting(self.where, m[1]), text)

    def _has(self, name: str) -> bool:
        return name.startswith("records.") or has_setting(self.where, name)


def check_rows(
    path: Path, kind: Kind, rows: pl.DataFrame, rejected: pl.DataFrame, rules: DateRules, *, below: int
) -> Sample:
    """Check rows of a kind (line in the file, and texts). `rejected` lists lines that are not rows (line, reason)."""
    checked = _check(path, kind, rows, rules)
    reasons = pl.concat([rejected.select("line", "reason"), checked.select("line", "reason")])
    lost = reasons.filter(~pl.col("reason").is_in(NOT_LOST))
    rejects = []
    for reason, number in lost["reason"].value_counts().sort(["count", "reason"], descending=[True, False]).rows():
        lines = lost.filter(pl.col("reason") == reason)["line"].sort()
        if reason == "wrong_number_of_fields":
            content = "" if files.is_parquet(path) else wrong_field_counts.describe(path, kind, lines.to_list())
        else:
            content = _shape_of_rejected(kind, rows.filter(pl.col("line").is_in(lines.implode())), reason, rules)
        rejects.append(Rejects(reason, number, int(lines[0]), content))
    unread, sex, remarks, notes = (
        0,
        "",
        list[str](),
        [*_quoted(path, kind, rows, rejects), *_ending_in_zeros(kind, rows)],
    )
    if isinstance(kind, PatientKind):
        unread, sex = _unread_sex(kind, rows, below)
        notes += _unread_dates(path, kind, rows, below)
        remarks += _one_birthday(path, kind, rows, below)
    counted = rows.height + rejected.height - (reasons.height - lost.height)
    return Sample(path, kind.where, counted, tuple(rejects), unread, sex, tuple(notes), tuple(remarks))


def _check(path: Path, kind: Kind, rows: pl.DataFrame, rules: DateRules) -> pl.DataFrame:
    """Return rejected rows (line, reason). Does not check whether an event's patient is known."""
    if isinstance(kind, EventKind):
        return events.parse(rows, files.file_layout(path, kind.files), rules)[1]
    if isinstance(kind, PatientKind):
        layout = replace(files.file_layout(path, kind.files), linked=())
        return patients.parse(rows, layout, (), (), rules, partial=kind.partial)[1]
    assert isinstance(kind, LinkedKind)
    return patients.parse_linked(rows, files.file_layout(path, kind.files), rules)[1]


def shape(text: pl.Expr) -> pl.Expr:
    """Replace each digit by 9, each upper-case letter by A, any other letter by a; the E of an exponent stays."""
    plain = text.str.replace_all(r"\p{Nd}", "9").str.replace_all(r"\p{Lu}", "A").str.replace_all(r"[\p{L}&&[^A]]", "a")
    plain = plain.str.replace(r"^(9+(?:[.,]9+)?)[Aa]([+-]?9+)$", "${1}E${2}")
    cut = pl.when(plain.str.len_chars() > MAX_SHAPE).then(plain.str.slice(0, MAX_SHAPE) + "…")
    return cut.otherwise(plain)


def _shape_of_rejected(kind: Kind, rows: pl.DataFrame, reason: str, rules: DateRules) -> str:
    """Describe rejected rows: the most frequent shape of the value, and a guess at what it is."""
    column = _column(kind, reason, rows)
    if not column or reason.startswith("missing_"):
        return ""
    texts = rows[column]
    if reason == ids.INEXACT and column == "patient" and "code" in rows.columns:
        is_id = rows.select(ids.inexact(pl.col("patient"))).to_series()
        texts = texts.filter(is_id) if is_id.any() else rows["code"]
    if texts.is_empty():  # in Parquet, where numbers are judged before they become texts
        return ""
    usual = texts.to_frame("text").select(shape(pl.col("text")))["text"].mode().sort()[0]
    maybe = _as_dates(texts, kind, rules) if reason.startswith("unparsable_") else ""
    if column == "birth_year" and reason == "unparsable_birth":
        maybe = _whole_births(texts, kind, rules)
    return f"of the shape {usual}{maybe}"


def _column(kind: Kind, reason: str, rows: pl.DataFrame) -> str:
    """Return the name, in the settings, of the column that caused the rejection; empty if there is none."""
    by_end = {"_date": "date", "_code": "code", "_patient": "patient"}
    births = [name for name in ("birth_date", "birth_year") if name in rows.columns]
    if reason == ids.INEXACT:
        return "key" if isinstance(kind, LinkedKind) else "patient"
    if reason.endswith("_birth"):
        return births[0] if births else ""
    return next((name for end, name in by_end.items() if reason.endswith(end) and name in rows.columns), "")


def _as_dates(texts: pl.Series, kind: Kind, rules: DateRules) -> str:
    """Suggest what texts are if no format in the settings reads them: day numbers, or dates in another format.

    Another format is suggested only if it reads all of the texts.
    """
    number = texts.str.extract(r"^([0-9]{5})(?:\.[0-9]+)?$").cast(pl.Int64, strict=False)
    if number.is_between(*SERIALS).fill_null(False).mean() == 1:
        return (
            " (day numbers of a spreadsheet? format the column as a date there, YYYY-MM-DD, and save it as CSV again)"
        )
    frame = texts.to_frame("text")
    read = [
        form
        for form in FORMATS
        if form not in kind.files.date_formats
        and frame.select(dates.parse(pl.col("text"), (form,), rules.latest).is_not_null().all()).item()
    ]
    return f" ({' or '.join(map(repr, read[:2]))} would read them)" if read else ""


def _whole_births(texts: pl.Series, kind: Kind, rules: DateRules) -> str:
    """Suggest `birth_date` instead of `birth_year` for a column of whole dates."""
    frame, formats = texts.to_frame("text"), (*kind.files.date_formats, *FORMATS)
    if not frame.select(dates.parse(pl.col("text"), formats, rules.latest).is_not_null().mean() > MIN_DATES).item():
        return ""
    return f" (a whole date? name the column in {setting(kind.where, 'columns.birth_date')} in place of birth_year)"


def _one_birthday(path: Path, kind: PatientKind, rows: pl.DataFrame, below: int) -> Iterator[str]:
    """Yield a message if births in several years all have the same day of the year: probably only the year is known."""
    if not kind.files.columns.birth_date or not has_setting(kind.where, "columns.birth_year"):
        return
    date, precision = patients.birth(files.file_layout(path, kind.files), DateRules())
    born = rows.select(birth=date, precision=precision).filter(pl.col("precision") == "day")["birth"].drop_nulls()
    if born.len() < max(below, FEWEST) or born.dt.year().n_unique() < MIN_YEARS:
        return
    if born.dt.to_string("%m-%d").n_unique() == 1:
        day = born[0]
        first = (day.month, day.day) == (1, 1)
        lost = "" if first else "events of that year before the day are rejected as before birth, and "
        yield (
            f"all dates of birth fall on one day of the year ({day:%m-%d}), so it is probably a placeholder: {lost}ages are counted"
            " from it. If only the year is known, have it exported as a column, and set"
            f" {setting(kind.where, 'columns.birth_year')} to this column, instead of birth_date."
        )


def _quoted(path: Path, kind: Kind, rows: pl.DataFrame, rejects: list[Rejects]) -> Iterator[str]:
    """Yield a message if values are in quotes although the settings have no quoting character."""
    if files.is_parquet(path) or kind.files.quote or not rows.height or not has_setting(kind.where, "quote"):
        return
    to_set = f"set {setting(kind.where, 'quote')} to '{QUOTE}'"
    for role, name in kind.wanted.items():
        if role in rows.columns:
            given = rows[role].filter(rows[role] != "")
            if len(given) and 2 * int(given.str.contains(r'^".*"$').sum()) > len(given):
                yield f"values of column {name!r} are in quotes: {to_set}."
                return
    if any(wrong_field_counts.IN_QUOTES in one.content for one in rejects):
        return
    if line := wrong_field_counts.first_in_quotes(path, kind, int(str(rows["line"].max())) + 1):
        yield (
            f"fields are in quotes (first in line {line:,}): {to_set}. Without it, the quotes belong to the values, and a row"
            " with a delimiter inside quotes is rejected."
        )


def _ending_in_zeros(kind: Kind, rows: pl.DataFrame) -> Iterator[str]:
    """Yield a message if long ids or codes end in zeros, as left by a spreadsheet: several may have become one."""
    for role in ("patient", "code", "key"):
        if role in rows.columns and ids.share_rounded(rows[role]) >= ROUNDED_SHARE:
            column = kind.wanted.get(role, role)
            yield (
                f"numbers of {ids.ROUND_DIGITS + 1} digits and more in column {column!r} end in zeros from there"
                " on, as a spreadsheet leaves them: have the column exported as text, never through a spreadsheet."
            )


def _unread_sex(kind: PatientKind, rows: pl.DataFrame, below: int) -> tuple[int, str]:
    """Count the rows with a sex that is not understood, and return the message about them."""
    if not kind.files.columns.sex:
        return 0, ""
    read = rows.with_columns(read=values.sex(pl.col("sex"), kind.files.sex_values))
    other = read.filter(pl.col("read").str.starts_with(values.NOT_UNDERSTOOD))
    if not other.height:
        return 0, ""
    message = (
        f"{_few(other.height, below)} of its first rows have a sex that is not understood, and is treated as unknown"
    )
    frequent, shapes = _frequent_values(other, below)
    shown = ", ".join([*map(repr, frequent), *(f"of the shape {each}" for each in shapes)])
    advice = values.proposal(setting(kind.where, "sex_values"), set(rows["sex"].unique()) - {""}, frequent)
    return other.height, f"{message} ({shown}): {advice}."


def _unread_dates(path: Path, kind: PatientKind, rows: pl.DataFrame, below: int) -> Iterator[str]:
    """Yield a message if dates of observation cannot be read."""
    if wrong := patients.unusable_dates(rows, files.file_layout(path, kind.files)):
        yield (
            f"{_few(wrong, below)} dates of observation in its first rows cannot be read, and are treated as unknown: set"
            f" {setting(kind.where, 'date_formats')}, or add these values to records.no_value."
        )


def _frequent_values(rows: pl.DataFrame, below: int) -> tuple[list[str], list[str]]:
    """Return the values of the sex that at least `below` patients have, and the shapes of all other values."""
    counted = rows.group_by("sex").agg(pl.col("patient").n_unique()).sort("patient", "sex", descending=[True, False])
    frequent = counted.filter(pl.col("patient") >= below)["sex"].head(5).to_list()
    shapes = counted.filter(pl.col("patient") < below).select(shape(pl.col("sex")))["sex"].unique(maintain_order=True)
    return frequent, shapes.head(3).to_list()
