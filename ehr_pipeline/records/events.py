"""Parse rows of text into typed events; reject rows that are not valid, with a reason."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.records import dates, ids
from ehr_pipeline.records.dates import DateRules
from ehr_pipeline.records.layouts import ANY_CODE, ANY_LOCAL_CODE, CODE_PATTERNS, LONGEST_ID, EventFiles
from ehr_pipeline.records.text import REPLACEMENT

NAMES_SYSTEM = ""  # code system of codes with their own system: '9014002' is SNOMED, 'LOINC:8331-1' is not
# Systems in which every code is a whole number, and the minimum number of digits of a code.
NUMERIC = {"snomed": 6, NAMES_SYSTEM: 6, "omop": 1, "medcodeid": 1, "prodcodeid": 1}
MIN_SNOMED = 10**5  # six digits; a shorter number may be a Read code


def parse(rows: pl.DataFrame, files: EventFiles, rules: DateRules) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split rows (line, patient, date, code) into typed events and rejected lines.

    Events have the columns line, patient, day (int32, days from 1970-01-01), code, middle and, if the files contain it, entered (a
    day). `middle` is true if the day represents a whole month or year. Codes of a local system are prefixed with its name, as in
    'medcode:1234'. Rejected rows have the columns line, reason and patient.
    """
    rows = with_plain_codes(rows, files)
    date = dates.parse(pl.col("date"), files.date_formats, rules.latest)
    middle, precision = dates.partial(pl.col("date"))
    partial = pl.col("parsed").is_null() & pl.col("middle")
    if rules.partial == "middle":
        date, partial = pl.coalesce(date, middle), pl.lit(False)
    # A rejected row gets the first of these reasons that applies. Each bucket is checked later for `unknown_patient` and
    # `before_birth`.
    conditions = {
        "missing_patient": pl.col("patient") == "",
        "undecodable_patient": pl.col("patient").str.contains(REPLACEMENT, literal=True),
        "overlong_patient": pl.col("patient").str.len_bytes() > LONGEST_ID,
        ids.INEXACT: ids.inexact(pl.col("patient")) | _inexact_code(files.code_system),
        "missing_code": pl.col("code") == "",
        "undecodable_code": pl.col("code").str.contains(REPLACEMENT, literal=True),
        "ill_formed_code": ~_well_formed(files.code_system),
        "missing_date": pl.col("date") == "",
        "ambiguous_date": dates.ambiguous(pl.col("date"), files.date_formats),
        "partial_date": partial,
        "unparsable_date": pl.col("parsed").is_null(),
        "sentinel_date": pl.col("parsed").is_in(rules.no_dates),
        "future_date": pl.col("parsed") > pl.lit(rules.latest, pl.Date),
    }
    reason = pl.coalesce([pl.when(applies).then(pl.lit(name)) for name, applies in conditions.items()])
    checked = rows.with_columns(parsed=date, middle=precision.is_not_null()).with_columns(reason=reason)
    code = pl.lit(prefix(files.code_system)) + pl.col("code")
    good = checked.filter(pl.col("reason").is_null()).select(
        "line", "patient", day=pl.col("parsed").to_physical(), code=code, middle="middle", **_entered(files)
    )
    return good, checked.filter(pl.col("reason").is_not_null()).select("line", "reason", "patient")


def with_plain_codes(rows: pl.DataFrame, files: EventFiles) -> pl.DataFrame:
    """Undo changes by exports to ids and codes in rows (line, patient, date, code).

    A value that means 'no code' is replaced by the fallback column if there is one, and otherwise removed.
    """
    return _with_fallback(_whole_numbers(rows, files), files)


def _whole_numbers(rows: pl.DataFrame, files: EventFiles) -> pl.DataFrame:
    """Remove fractions of zeros from ids, and from codes of systems with whole numbers. ICD-9, for example, has '250.0'."""
    digits = NUMERIC.get(files.code_system)
    codes = [name for name in ("code", "code_fallback") if digits and name in rows.columns]
    return rows.with_columns(ids.whole(pl.col("patient")), *(ids.whole(pl.col(name), digits or 1) for name in codes))


def _inexact_code(code_system: str) -> pl.Expr:
    """Return whether a code is a number that was rounded to exponent form. If codes may contain letters, only a plus sign is proof:
    '1E50' is a code of ICD-11."""
    if code_system in NUMERIC:
        return ids.inexact(pl.col("code"))
    return pl.col("code").str.contains(r"^[0-9]+(?:[.,][0-9]+)?[eE]\+[0-9]{1,2}$")


def prefix(code_system: str) -> str:
    """Return the prefix of the codes of a system; empty for SNOMED, and for codes that include their system."""
    return "" if code_system in ("snomed", NAMES_SYSTEM) else f"{code_system}:"


def _well_formed(code_system: str) -> pl.Expr:
    code = pl.col("code")
    if code_system != NAMES_SYSTEM:
        return code.str.contains(CODE_PATTERNS.get(code_system, ANY_CODE))
    local = code.str.contains(":", literal=True)
    return pl.when(local).then(code.str.contains(ANY_LOCAL_CODE)).otherwise(code.str.contains(CODE_PATTERNS["snomed"]))


def entered_days(rows: pl.DataFrame, files: EventFiles) -> NDArray[np.int32]:
    """Return the days (n,) on which rows were entered, without checking them; `NEVER` if unknown."""
    if "entered" not in rows.columns:
        return np.full(rows.height, dates.NEVER)
    return rows.select(**_entered(files)).to_series().to_numpy()


def _entered(files: EventFiles) -> dict[str, pl.Expr]:
    """Return the day on which an event was entered; `NEVER` if it cannot be read (the event is still kept)."""
    if not files.columns.entered:
        return {}
    day = dates.parse(pl.col("entered"), files.date_formats).to_physical()
    return {"entered": day.fill_null(int(dates.NEVER))}


def _with_fallback(rows: pl.DataFrame, files: EventFiles) -> pl.DataFrame:
    """Return rows (line, patient, date, code) with values that mean 'no code' replaced by the fallback column, or removed."""
    if not files.no_code and "code_fallback" not in rows.columns:
        return rows
    code = [
        pl.when(~pl.col(name).is_in([*files.no_code, ""])).then(pl.col(name))
        for name in ("code", "code_fallback")
        if name in rows.columns
    ]
    others = [name for name in ("entered",) if name in rows.columns]
    return rows.select("line", "patient", "date", *others, pl.coalesce([*code, pl.lit("")]).alias("code"))


def plain_days(rows: pl.DataFrame, files: EventFiles, rules: DateRules) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """Return the days (n,) of rows whose patient and code are plain numbers, and which rows (n,) are usable as they are.

    The other rows must go through `parse`, which finds the reason.
    """
    if rows["date"].dtype == pl.Date:
        day = dates.usable_days(rows["date"], rules)
    else:
        day = dates.days_of_plain_dates(rows["date"], files.date_formats, rules)
    usable = day != dates.NEVER
    if files.code_system == "snomed":
        usable &= rows["code"].to_numpy() >= MIN_SNOMED
    if files.no_code:
        usable &= ~np.isin(rows["code"].to_numpy(), [int(value) for value in files.no_code if value.isdecimal()])
    return day, usable
