"""Parse rows of patient files and of the tables joined to them, with dates of birth, observation and death."""

import datetime
from collections import Counter
from collections.abc import Mapping

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.records import dates, ids, values
from ehr_pipeline.records.dates import DateRules
from ehr_pipeline.records.layouts import LONGEST_ID, DelimitedText, LinkedFiles, PatientFiles
from ehr_pipeline.records.text import REPLACEMENT
from ehr_pipeline.tables.schemas import DATED, DEATH, OBSERVATION

START, END = OBSERVATION
ANY_DATE = DateRules()
BIRTH_PARTS = ("birth_year", "birth_month", "birth_day")


def parse(
    rows: pl.DataFrame,
    files: PatientFiles,
    attributes: tuple[str, ...],
    linked: tuple[pl.DataFrame, ...] = (),
    rules: DateRules = ANY_DATE,
    *,
    partial: bool = False,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split rows of a patient file into typed patients and rejected lines.

    `linked` are the rows of the joined tables (`parse_linked`). With `partial`, rows without a birth are accepted: their birth is
    null, and they add to the patient's other rows. Returns patients (patient_id, birth_date, birth_precision, sex, attributes,
    line), where a sex that is not understood is marked (`values.sex`), and rejected rows (line, reason, patient).
    """
    rows = _whole_numbers(rows)
    for number, table in enumerate(linked):
        rows = rows.join(
            table.rename({name: f"{name}:{number}" for name in table.columns}),
            left_on=f"linked:{number}",
            right_on=f"key:{number}",
            how="left",
            maintain_order="left",
        )
    birth_date, precision = birth(files, rules)
    no_day, _ = dates.partial(pl.col("birth_date")) if files.columns.birth_date else (pl.lit(None, pl.Date), None)
    birth_text = (
        pl.col("birth_date" if files.columns.birth_date else "birth_year") if files.columns.has_birth else pl.lit("")
    )
    conditions = {  # the first that applies is the reason
        "missing_patient": pl.col("patient") == "",
        "undecodable_patient": pl.col("patient").str.contains(REPLACEMENT, literal=True),
        "overlong_patient": pl.col("patient").str.len_bytes() > LONGEST_ID,
        ids.INEXACT: ids.inexact(pl.col("patient")),
        "missing_birth": pl.lit(False) if partial or not files.columns.has_birth else birth_text == "",
        "ambiguous_birth": dates.ambiguous(birth_text, files.date_formats)
        if files.columns.birth_date
        else pl.lit(False),
        "partial_birth": pl.col("birth").is_null() & no_day.is_not_null(),
        "unparsable_birth": pl.col("birth").is_null() & (birth_text != ""),
        "sentinel_birth": pl.col("birth").is_in(rules.no_dates) & (pl.col("birth_precision") == "day"),
        "future_birth": _earliest_birth() > pl.lit(rules.latest, pl.Date),
    }
    reason = pl.coalesce([pl.when(applies).then(pl.lit(name)) for name, applies in conditions.items()])
    checked = rows.with_columns(birth=birth_date, birth_precision=precision).with_columns(reason=reason)
    sex = values.sex(pl.col("sex"), files.sex_values) if files.columns.sex else pl.lit("")
    other_columns = {name: _attribute(name, files) for name in attributes if name not in DATED}
    known_dates = _dates_of(files, rules)
    good = checked.filter(pl.col("reason").is_null()).select(
        "line",
        patient_id="patient",
        birth_date="birth",
        birth_precision=pl.when(pl.col("birth").is_not_null()).then("birth_precision").otherwise(pl.lit("")),
        sex=sex,
        **(other_columns | {name: known_dates[name] for name in DATED if name in attributes}),
    )
    order = ["patient_id", "birth_date", "birth_precision", "sex", *attributes, "line"]
    return good.select(order), checked.filter(pl.col("reason").is_not_null()).select("line", "reason", "patient")


def parse_linked(rows: pl.DataFrame, files: LinkedFiles, rules: DateRules) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Split rows of a joined table into usable (key, attributes, observation_end) and rejected ones (line, reason)."""
    ends = _earliest(files, len(files.observation_ends), rules)
    attributes = [f"attribute:{name}" for name in files.attributes]
    reason = (
        pl.when(pl.col("key") == "")
        .then(pl.lit("missing_key"))
        .when(ids.inexact(pl.col("key")))
        .then(pl.lit(ids.INEXACT))
    )
    checked = rows.with_columns(key=ids.whole(pl.col("key"))).with_columns(reason=reason)
    return (
        checked.filter(pl.col("reason").is_null()).select("key", *attributes, ends.alias(END)),
        checked.filter(pl.col("reason").is_not_null()).select("line", "reason"),
    )


def _whole_numbers(rows: pl.DataFrame) -> pl.DataFrame:
    """Remove fractions of zeros from patient ids and from keys of joined tables."""
    names = [name for name in rows.columns if name == "patient" or name.startswith("linked:")]
    return rows.with_columns(ids.whole(pl.col(name)) for name in names)


def not_in_table(rows: pl.DataFrame, linked: tuple[pl.DataFrame, ...]) -> int:
    """Count rows whose key is missing, or not in one of the joined tables: they get no values from it."""
    rows = _whole_numbers(rows)
    missing = [~pl.col(f"linked:{number}").is_in(table["key"].implode()) for number, table in enumerate(linked)]
    return int(rows.select(pl.any_horizontal(missing).sum()).item())


def unusable_birth_parts(rows: pl.DataFrame) -> int:
    """Count months and days of birth that are neither empty nor valid: these births are known less precisely."""
    wrong = [
        ((pl.col(name) != "") & _number(name, last).is_null()).sum().alias(name)
        for name, last in (("birth_month", 12), ("birth_day", 31))
        if name in rows.columns
    ]
    return int(sum(rows.select(wrong).row(0))) if wrong else 0


def _number(name: str, last: int) -> pl.Expr:
    """Return a month or day of birth as a number; null if it is not valid."""
    number = ids.whole(pl.col(name)).str.extract(r"^0?([0-9]{1,2})$").cast(pl.Int8, strict=False)
    return pl.when(number.is_between(1, last)).then(number)


def _earliest_birth() -> pl.Expr:
    """Return the earliest possible day of birth."""
    birth, precision = pl.col("birth"), pl.col("birth_precision")
    return (
        pl.when(precision == "year")
        .then(birth.dt.truncate("1y"))
        .when(precision == "month")
        .then(birth.dt.truncate("1mo"))
        .otherwise(birth)
    )


def unusable_dates(rows: pl.DataFrame, files: PatientFiles | LinkedFiles) -> int:
    """Count dates of observation and of death that cannot be read, and so are unknown."""
    names = [name for name in rows.columns if name in (START, "death") or name.startswith("observation_ends:")]
    wrong = [((pl.col(name) != "") & dates.parse(pl.col(name), files.date_formats).is_null()).sum() for name in names]
    return int(sum(rows.select(wrong_dates).item() for wrong_dates in wrong))


def undecodable_values(rows: pl.DataFrame, columns: Mapping[str, str]) -> Counter[str]:
    """Count values with undecodable bytes in columns that are copied unchanged, by the name of the column in the file.

    `columns` maps names in the settings to names in the file. Patient ids with such bytes are rejected; dates with them cannot be
    read."""
    names = [name for name in rows.columns if name in ("sex", "key") or name.startswith(("attribute:", "linked:"))]
    counts = rows.select(pl.col(names).str.contains(REPLACEMENT, literal=True).sum())
    return Counter({columns.get(name, name.rpartition(":")[2]): counts[name].item() for name in names})


def _attribute(name: str, files: PatientFiles) -> pl.Expr:
    if name in files.attributes:
        return pl.col(f"attribute:{name}")
    for number, table in enumerate(files.linked):
        if name in table.attributes:
            return pl.col(f"attribute:{name}:{number}").fill_null("")
    return pl.lit("")


def _dates_of(files: PatientFiles, rules: DateRules) -> dict[str, pl.Expr]:
    """Return the first and last day of observation, and the day of death, by column.

    The last day is the earliest of all ends: the death, and the ends of observation in the file and in joined tables.
    """
    start = _date(START, files, rules, rules.latest) if files.columns.observation_start else pl.lit(None, pl.Date)
    death = _date("death", files, rules) if files.columns.death else pl.lit(None, pl.Date)
    ends = [_earliest(files, len(files.columns.observation_ends), rules), death]
    ends += [pl.col(f"{END}:{number}") for number, _ in enumerate(files.linked)]
    return {START: start, END: pl.min_horizontal(ends), DEATH: death}


def _earliest(files: DelimitedText, columns: int, rules: DateRules) -> pl.Expr:
    ends = [_date(f"observation_ends:{number}", files, rules) for number in range(columns)]
    return pl.min_horizontal(ends) if ends else pl.lit(None, pl.Date)


def _date(name: str, files: DelimitedText, rules: DateRules, latest: datetime.date | None = None) -> pl.Expr:
    """Return a date of observation or of death; null if missing, unreadable, or meaning 'no date'. Ends may lie in the future."""
    parsed = dates.parse(pl.col(name), files.date_formats, latest)
    return pl.when(~parsed.is_in(rules.no_dates)).then(parsed)


def birth(files: PatientFiles, rules: DateRules) -> tuple[pl.Expr, pl.Expr]:
    """Return birth date and precision. An unknown day becomes the middle of the month or year, as usual with UK data."""
    columns = files.columns
    if not columns.has_birth:
        return pl.lit(None, pl.Date), pl.lit("")
    if columns.birth_date:
        date = dates.parse(pl.col("birth_date"), files.date_formats, rules.latest)
        if rules.partial == "reject":
            return date, pl.lit("day")
        middle, precision = dates.partial(pl.col("birth_date"))
        return pl.coalesce(date, middle), pl.when(date.is_not_null()).then(pl.lit("day")).otherwise(precision)
    year = ids.whole(pl.col("birth_year")).str.extract(r"^([0-9]{4})$").cast(pl.Int32, strict=False)
    year = pl.when(year.is_between(dates.FIRST_YEAR, dates.LAST_YEAR)).then(year)
    if not columns.birth_month:
        return pl.date(year, 7, 1), pl.lit("year")
    month = _number("birth_month", 12)
    known = month.is_not_null()
    by_month = pl.when(known).then(pl.date(year, month, 15)).otherwise(pl.date(year, 7, 1))
    precision = pl.when(known).then(pl.lit("month")).otherwise(pl.lit("year"))
    if not columns.birth_day:
        return by_month, precision
    # Parsed as text, because 31 April must not become a date: for such a birth, only the month is known.
    parts = [ids.whole(pl.col(name)).str.zfill(2) for name in BIRTH_PARTS]
    day = pl.concat_str(parts, separator="-").str.to_date("%Y-%m-%d", strict=False)
    full = day.is_not_null() & year.is_not_null() & known
    return pl.when(full).then(day).otherwise(by_month), pl.when(full).then(pl.lit("day")).otherwise(precision)


def earliest_day(birth_date: pl.Series, precision: pl.Series) -> NDArray[np.int32]:
    """Return the earliest day (n,), from 1970-01-01, of an event of each patient, given the precision (n,) of the birth."""
    birth = birth_date.to_numpy().astype("datetime64[D]")
    first = birth.copy()
    for name, unit in (("year", "Y"), ("month", "M")):
        known_so = (precision == name).to_numpy()
        first[known_so] = birth[known_so].astype(f"datetime64[{unit}]")
    return first.astype(np.int32)


def outside(
    people: pl.DataFrame, patient: NDArray[np.integer], day: NDArray[np.integer], among: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return flags (n,) of the events before, and of those after, the patient's observation; unknown starts and ends flag none.

    `patient` is the row of each event's patient in `people`; only events flagged in `among` are checked.
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
    """Return the last day that an event may have: the setting, or the extract's name if that is a date, or None."""
    try:
        return datetime.date.fromisoformat(latest_date or extract)
    except ValueError:
        return None
