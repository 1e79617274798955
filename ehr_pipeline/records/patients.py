"""Rows of patient files to typed patients, and one row for each of them."""

import datetime
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.records import dates
from ehr_pipeline.records.layouts import LONGEST_ID, DelimitedText, LinkedFiles, PatientFiles
from ehr_pipeline.records.text import REPLACEMENT
from ehr_pipeline.schemas import OBSERVATION

REASONS = (
    "missing_patient",
    "undecodable_patient",
    "overlong_patient",
    "missing_birth",
    "ambiguous_birth",
    "unparsable_birth",
)
START, END = OBSERVATION


def parse(
    rows: pl.DataFrame,
    files: PatientFiles,
    attributes: tuple[str, ...],
    linked: tuple[pl.DataFrame, ...] = (),
    sentinel_dates: tuple[str, ...] = (),
    partial: bool = False,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split rows of a patient file into typed patients and rejected lines.

    `linked` has the rows of the joined tables (`parse_linked`). Where `partial` is set, rows without a birth are good: their
    birth is null, and they add to the patient's other rows. Returns patients (patient_id, birth_date, birth_precision, sex,
    attributes, line) and rejected (line, reason, patient).
    """
    for number, table in enumerate(linked):
        rows = rows.join(
            table.rename({name: f"{name}:{number}" for name in table.columns}),
            left_on=f"linked:{number}",
            right_on=f"key:{number}",
            how="left",
            maintain_order="left",
        )
    told_birth, precision = birth(files)
    told = (
        pl.col("birth_date" if files.columns.birth_date else "birth_year") if files.columns.tell_birth else pl.lit("")
    )
    conditions = {
        "missing_patient": pl.col("patient") == "",
        "undecodable_patient": pl.col("patient").str.contains(REPLACEMENT, literal=True),
        "overlong_patient": pl.col("patient").str.len_bytes() > LONGEST_ID,
        "missing_birth": pl.lit(False) if partial or not files.columns.tell_birth else told == "",
        "ambiguous_birth": dates.ambiguous(told, files.date_formats) if files.columns.birth_date else pl.lit(False),
        "unparsable_birth": pl.col("birth").is_null() & (told != ""),
    }
    reason = pl.coalesce([pl.when(conditions[name]).then(pl.lit(name)) for name in REASONS])
    judged = rows.with_columns(birth=told_birth, birth_precision=precision).with_columns(reason=reason)
    sex = pl.col("sex") if files.columns.sex else pl.lit("")
    if files.sex_values:
        sex = sex.replace_strict(files.sex_values, default="", return_dtype=pl.String)
    given = {name: _attribute(name, files) for name in attributes if name not in OBSERVATION}
    window = _window(files, sentinel_dates)
    good = judged.filter(pl.col("reason").is_null()).select(
        "line",
        patient_id="patient",
        birth_date="birth",
        birth_precision=pl.when(pl.col("birth").is_not_null()).then("birth_precision").otherwise(pl.lit("")),
        sex=sex,
        **(given | {name: window[name] for name in OBSERVATION if name in attributes}),
    )
    order = ["patient_id", "birth_date", "birth_precision", "sex", *attributes, "line"]
    return good.select(order), judged.filter(pl.col("reason").is_not_null()).select("line", "reason", "patient")


def parse_linked(
    rows: pl.DataFrame, files: LinkedFiles, sentinel_dates: tuple[str, ...]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of a table that is joined to patients: (key, attributes, observation_end), and rejected ones (line, reason)."""
    ends = _earliest(files, len(files.observation_ends), sentinel_dates)
    good = rows.filter(pl.col("key") != "")
    attributes = [f"attribute:{name}" for name in files.attributes]
    return (
        good.select("key", *attributes, ends.alias(END)),
        rows.filter(pl.col("key") == "").select("line", reason=pl.lit("missing_key")),
    )


def unusable_dates(rows: pl.DataFrame, files: PatientFiles | LinkedFiles) -> int:
    """How many dates of observation there are that cannot be read: nothing is known then."""
    names = [name for name in rows.columns if name == START or name.startswith("observation_ends:")]
    wrong = [((pl.col(name) != "") & dates.parse(pl.col(name), files.date_formats).is_null()).sum() for name in names]
    return int(sum(rows.select(wrong_dates).item() for wrong_dates in wrong))


def undecodable_values(rows: pl.DataFrame, columns: Mapping[str, str]) -> Counter[str]:
    """How many values that are carried as they stand hold bytes that are no text, by the file's column, of `columns`.

    Patient ids with such bytes are rejected, and dates cannot be read.
    """
    names = [name for name in rows.columns if name in ("sex", "key") or name.startswith(("attribute:", "linked:"))]
    found = rows.select(pl.col(names).str.contains(REPLACEMENT, literal=True).sum())
    return Counter({columns.get(name, name.rpartition(":")[2]): found[name].item() for name in names})


def _attribute(name: str, files: PatientFiles) -> pl.Expr:
    if name in files.attributes:
        return pl.col(f"attribute:{name}")
    for number, table in enumerate(files.linked):
        if name in table.attributes:
            return pl.col(f"attribute:{name}:{number}").fill_null("")
    return pl.lit("")


def _window(files: PatientFiles, sentinel_dates: tuple[str, ...]) -> dict[str, pl.Expr]:
    """First and last day of observation: the last is the earliest of all that end it, those of joined tables included."""
    start = _date(START, files, sentinel_dates) if files.columns.observation_start else pl.lit(None, pl.Date)
    ends = [_earliest(files, len(files.columns.observation_ends), sentinel_dates)]
    ends += [pl.col(f"{END}:{number}") for number, _ in enumerate(files.linked)]
    return {START: start, END: pl.min_horizontal(ends)}


def _earliest(files: DelimitedText, columns: int, sentinel_dates: tuple[str, ...]) -> pl.Expr:
    found = [_date(f"observation_ends:{number}", files, sentinel_dates) for number in range(columns)]
    return pl.min_horizontal(found) if found else pl.lit(None, pl.Date)


def _date(name: str, files: DelimitedText, sentinel_dates: tuple[str, ...]) -> pl.Expr:
    """A date of observation; null where it is missing, unreadable, or means 'no date'."""
    parsed = dates.parse(pl.col(name), files.date_formats)
    return pl.when(~parsed.is_in([datetime.date.fromisoformat(text) for text in sentinel_dates])).then(parsed)


def birth(files: PatientFiles) -> tuple[pl.Expr, pl.Expr]:
    """Birth date and its precision. The middle of the year or month stands for an unknown day, as is usual with UK data."""
    columns = files.columns
    if not columns.tell_birth:
        return pl.lit(None, pl.Date), pl.lit("")
    if columns.birth_date:
        return dates.parse(pl.col("birth_date"), files.date_formats), pl.lit("day")
    year = pl.col("birth_year").str.extract(r"^(\d{4})$").cast(pl.Int32, strict=False)
    year = pl.when(year.is_between(1800, 2157)).then(year)
    if not columns.birth_month:
        return pl.date(year, 7, 1), pl.lit("year")
    month = pl.col("birth_month").str.extract(r"^0?(\d{1,2})$").cast(pl.Int8, strict=False)
    known = month.is_between(1, 12).fill_null(False)
    by_month = pl.when(known).then(pl.date(year, month, 15)).otherwise(pl.date(year, 7, 1))
    precision = pl.when(known).then(pl.lit("month")).otherwise(pl.lit("year"))
    if not columns.birth_day:
        return by_month, precision
    # As a text, since 31 April is no date and must not become one: the month is all that is known then.
    parts = [pl.col(name).str.zfill(2) for name in ("birth_month", "birth_day")]
    day = pl.concat_str([pl.col("birth_year"), *parts], separator="-").str.to_date("%Y-%m-%d", strict=False)
    full = day.is_not_null() & year.is_not_null() & known
    return pl.when(full).then(day).otherwise(by_month), pl.when(full).then(pl.lit("day")).otherwise(precision)


@dataclass(frozen=True)
class Merged:
    """One row for each patient, and what became of the rows."""

    people: pl.DataFrame
    """One row for each patient, sorted by id."""
    repeated: int
    """Rows that went into another one's."""
    differing: int
    """Patients with rows of which each tells the birth, but that differ."""
    orphans: NDArray[np.bool_]
    """Which rows (n,) only add to a patient that no row tells the birth of."""


def one_row_each(patients: pl.DataFrame) -> Merged:
    """Keep one row for each patient: where rows differ, the first in order of their values.

    Rows without a birth add to it what it lacks, the lowest value where there are several; observation ends with the earliest end.
    """
    births = patients["birth_date"]
    full = patients.filter(births.is_not_null()) if births.null_count() else patients
    kept, differing = full.sort(full.columns), 0
    if kept["patient_id"].n_unique() < kept.height:  # seldom; and with many buckets each step for nothing counts
        distinct = kept.unique(maintain_order=True)
        kept = distinct.unique("patient_id", keep="first", maintain_order=True)
        differing = distinct.group_by("patient_id").len().filter(pl.col("len") > 1).height
    orphans = np.zeros(patients.height, bool)
    if full.height < patients.height:
        born = births.is_not_null()
        orphans = (~born & ~patients["patient_id"].is_in(kept["patient_id"].implode())).to_numpy()
        kept = _with_additions(kept, patients.filter(~born))
    return Merged(kept, patients.height - kept.height - int(orphans.sum()), differing, orphans)


def _with_additions(kept: pl.DataFrame, additions: pl.DataFrame) -> pl.DataFrame:
    texts = [name for name in ("sex", *kept.columns[4:]) if name not in OBSERVATION]
    windows = [name for name in OBSERVATION if name in kept.columns]
    each = additions.group_by("patient_id").agg(
        *(pl.col(name).filter(pl.col(name) != "").min().alias(f"{name}:added") for name in texts),
        *(pl.col(name).min().alias(f"{name}:added") for name in windows),
    )
    joined = kept.join(each, on="patient_id", how="left", maintain_order="left")
    own = {
        name: pl.when(pl.col(name) != "").then(name).otherwise(pl.col(f"{name}:added").fill_null("")) for name in texts
    }
    if START in windows:
        own[START] = pl.coalesce(START, f"{START}:added")
    if END in windows:
        own[END] = pl.min_horizontal(END, f"{END}:added")
    return joined.with_columns(**own).select(kept.columns)


def earliest_day(birth_date: pl.Series, precision: pl.Series) -> NDArray[np.int32]:
    """The first day (n,), counted from 1970-01-01, on which an event can lie, given how well the birth (n,) is known."""
    birth = birth_date.to_numpy().astype("datetime64[D]")
    first = birth.copy()
    for name, unit in (("year", "Y"), ("month", "M")):
        known_so = (precision == name).to_numpy()
        first[known_so] = birth[known_so].astype(f"datetime64[{unit}]")
    return first.astype(np.int32)


def outside(
    people: pl.DataFrame, patient: NDArray[np.integer], day: NDArray[np.integer], among: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which events (n,) lie before, and which after, the observation window of their patient, where one is known.

    `patient` has the place of each event's patient in `people`; only events in `among` are asked about.
    """
    before, after = np.zeros(len(day), bool), np.zeros(len(day), bool)
    extreme = np.iinfo(np.int32)
    if START in people.columns:
        first = people[START].to_physical().fill_null(extreme.min).to_numpy()
        before[among] = day[among] < first[patient[among]]
    if END in people.columns:
        last = people[END].to_physical().fill_null(extreme.max).to_numpy()
        after[among] = day[among] > last[patient[among]]
    return before, after & ~before


def latest_day(latest_date: str, extract: str) -> datetime.date | None:
    """The last day that an event may have: the setting, or the extract's name where that is a date, or None."""
    try:
        return datetime.date.fromisoformat(latest_date or extract)
    except ValueError:
        return None
