"""Rows of patient files to typed patients, and one row for each of them."""

import datetime

import polars as pl

from ehr_pipeline.records import dates
from ehr_pipeline.records.settings import LONGEST_ID, PatientFiles
from ehr_pipeline.records.text import REPLACEMENT

REASONS = (
    "missing_patient",
    "undecodable_patient",
    "overlong_patient",
    "missing_birth",
    "ambiguous_birth",
    "unparsable_birth",
)


def wanted_columns(files: PatientFiles) -> dict[str, str]:
    """The columns to read: our name of each, and the file's."""
    columns = {role: name for role, name in vars(files.columns).items() if name}
    return columns | {f"attribute:{name}": column for name, column in files.attributes.items()}


def parse(rows: pl.DataFrame, files: PatientFiles, attributes: tuple[str, ...]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split rows of a patient file into typed patients and rejected lines.

    Returns patients (patient_id, birth_date, birth_precision, sex, attributes) and rejected (line, reason, patient).
    """
    birth, precision = _birth(files)
    told = pl.col("birth_date" if files.columns.birth_date else "birth_year")
    conditions = {
        "missing_patient": pl.col("patient") == "",
        "undecodable_patient": pl.col("patient").str.contains(REPLACEMENT, literal=True),
        "overlong_patient": pl.col("patient").str.len_bytes() > LONGEST_ID,
        "missing_birth": told == "",
        "ambiguous_birth": dates.ambiguous(told, files.date_formats) if files.columns.birth_date else pl.lit(False),
        "unparsable_birth": pl.col("birth").is_null(),
    }
    reason = pl.coalesce([pl.when(conditions[name]).then(pl.lit(name)) for name in REASONS])
    judged = rows.with_columns(birth=birth, birth_precision=precision).with_columns(reason=reason)
    sex = pl.col("sex") if files.columns.sex else pl.lit("")
    if files.sex_values:
        sex = sex.replace_strict(files.sex_values, default="", return_dtype=pl.String)
    given = {name: pl.col(f"attribute:{name}") if name in files.attributes else pl.lit("") for name in attributes}
    good = judged.filter(pl.col("reason").is_null()).select(
        patient_id="patient", birth_date="birth", birth_precision="birth_precision", sex=sex, **given
    )
    return good, judged.filter(pl.col("reason").is_not_null()).select("line", "reason", "patient")


def _birth(files: PatientFiles) -> tuple[pl.Expr, pl.Expr]:
    """Birth date and its precision. The middle of the year or month stands for an unknown day, as is usual with UK data."""
    if files.columns.birth_date:
        return dates.parse(pl.col("birth_date"), files.date_formats), pl.lit("day")
    year = pl.col("birth_year").str.extract(r"^(\d{4})$").cast(pl.Int32, strict=False)
    year = pl.when(year.is_between(1800, 2157)).then(year)
    if not files.columns.birth_month:
        return pl.date(year, 7, 1), pl.lit("year")
    month = pl.col("birth_month").str.extract(r"^0?(\d{1,2})$").cast(pl.Int8, strict=False)
    known = month.is_between(1, 12).fill_null(False)
    return (
        pl.when(known).then(pl.date(year, month, 15)).otherwise(pl.date(year, 7, 1)),
        pl.when(known).then(pl.lit("month")).otherwise(pl.lit("year")),
    )


def one_row_each(patients: pl.DataFrame) -> tuple[pl.DataFrame, int, int]:
    """Keep one row for each patient, sorted by id: where rows differ, the first in order of their values.

    Returns the patients, how many rows were repeats, and how many patients had rows that differ.
    """
    distinct = patients.unique()
    kept = distinct.sort(patients.columns).unique("patient_id", keep="first", maintain_order=True)
    differing = distinct.group_by("patient_id").len().filter(pl.col("len") > 1).height
    return kept, patients.height - kept.height, differing


def earliest_day(birth_date: pl.Series, precision: pl.Series) -> pl.Series:
    """The first day (int32 days from 1970-01-01) on which an event can lie, given how well the birth is known."""
    frame = pl.DataFrame({"birth": birth_date, "precision": precision})
    first = (
        pl.when(pl.col("precision") == "year")
        .then(pl.col("birth").dt.truncate("1y"))
        .when(pl.col("precision") == "month")
        .then(pl.col("birth").dt.truncate("1mo"))
        .otherwise(pl.col("birth"))
    )
    return frame.select(first.to_physical()).to_series()


def latest_day(latest_date: str, extract: str) -> datetime.date | None:
    """The last day that an event may have: the setting, or the extract's name where that is a date, or None."""
    try:
        return datetime.date.fromisoformat(latest_date or extract)
    except ValueError:
        return None
