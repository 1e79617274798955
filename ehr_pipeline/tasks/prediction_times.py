"""Read files of patients and prediction times, with a study's own column names or in the MEDS label schema."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import dates
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.tables import align
from ehr_pipeline.tasks import meds

PATIENT, SUBJECT, DATE, TIME, LABEL = "patient_id", "subject_id", "date", "prediction_time", "boolean_value"
_ZONE = r"(?:[Zz]|[+-][0-9][0-9]:?[0-9][0-9])$"
_TIMES = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_TEXTS = (pl.String, pl.Categorical, pl.Enum)
_EXPECTED = {
    PATIENT: ("a patient id", "Write ids as in the extract."),
    SUBJECT: ("a whole number", "Write ids as `ehr-pipeline export meds` does."),
    DATE: ("a date", "Write YYYY-MM-DD, or as the study's files of events do."),
    TIME: ("a time", "Write YYYY-MM-DD, or YYYY-MM-DDTHH:MM:SS."),
    LABEL: ("true or false", "Write true or false."),
}


@dataclass(frozen=True)
class Names:
    """Column names for patients and dates in a study's files, in addition to the names of MEDS."""

    patient: Collection[str] = (PATIENT,)
    date: Collection[str] = ()
    date_formats: tuple[str, ...] = (dates.ISO,)


@dataclass(frozen=True)
class PredictionTimes:
    """The rows (N,) of a file of patients and prediction times, in the order of the file."""

    ids: pa.Array
    """Patient ids (text), or subject ids (whole numbers)."""
    last_day: NDArray[np.int32]
    """The last day that a model may read, in days from 1970-01-01: the date, or the last day that has ended by the time."""
    label: NDArray[np.bool_] | None
    """The column boolean_value; None if the file has no such column."""

    @property
    def by_subject(self) -> bool:
        """Whether `ids` are subject ids."""
        return bool(pa.types.is_integer(self.ids.type))

    def rows(self, ids: pa.Array, key: Key | None) -> NDArray[np.int64]:
        """Return the position in `ids` of each row's patient (N,); -1 if absent.

        A subject id is either one made by `export meds`, which can be matched only with the store's `key`, or a patient id that
        is a number.
        """
        if not self.by_subject:
            return align.rows(self.ids, ids)
        plain = align.rows(self.ids.cast(pa.string()), ids)
        if key is None:
            return plain
        keyed = pa.array([meds.subject_id(patient, key) for patient in ids.to_pylist()], pa.int64())
        row = align.rows(self.ids, keyed)
        return np.where(row >= 0, row, plain)


def read(path: Path, names: Names | None = None, *, once: bool = False) -> PredictionTimes:
    """Read a file of patients and prediction times: CSV or Parquet, one row for each requested history.

    Its columns are subject_id or the patient id, prediction_time or the date, and boolean_value if it has one. Raises InputError
    for a file that cannot be read, lacks a column, or has an invalid cell. The message gives file, row and column, and what to
    write there, but never content of the file. With `once`, the same patient and time twice is an error.
    """
    names, table = names or Names(), _table(path)
    who = next((name for name in (*names.patient, SUBJECT) if name in table.columns), "")
    when = next((name for name in (*names.date, TIME) if name in table.columns), "")
    if not who or not when:
        needed = [
            " or ".join(dict.fromkeys((*each, other))) for each, other in ((names.patient, SUBJECT), (names.date, TIME))
        ]
        raise InputError(
            f"{path}: needs a column {needed[0]}, and a column {needed[1]}. A text file needs commas between columns."
        )
    kind = SUBJECT if who == SUBJECT else PATIENT
    ids = _column(path, table, who, kind, names).alias("who")
    days = _column(path, table, when, TIME if when == TIME else DATE, names)
    if once and (repeated := pl.DataFrame([ids, days]).is_duplicated().arg_true()).len():
        raise InputError(
            f"{path}, row {repeated[0] + 1:,} below the header: another row has the same patient and time. Remove one of them."
        )
    last_day = meds.last_day(days.to_arrow()) if when == TIME else days.to_physical().to_numpy().astype(np.int32)
    label = _column(path, table, LABEL, LABEL, names).to_numpy() if LABEL in table.columns else None
    id_values = (
        pa.array(ids.to_numpy(), pa.int64()) if kind == SUBJECT else align.one_chunk(ids.to_arrow().cast(pa.string()))
    )
    return PredictionTimes(id_values, last_day, label)


def _table(path: Path) -> pl.DataFrame:
    """Read the columns of a file. Columns of a CSV file are read as text."""
    try:
        if path.suffix == ".parquet":
            table = pl.read_parquet(path, glob=False)
        else:
            table = pl.read_csv(path, infer_schema=False, glob=False)
    except pl.exceptions.NoDataError:
        raise InputError(f"{path}: the file is empty. Write a header and one row per requested history.") from None
    except FileNotFoundError:
        raise InputError(f"{path}: this file does not exist.") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"{path}: cannot be read as CSV or Parquet ({type(error).__name__}). Check that the file is complete and readable."
        ) from None
    if not table.height:
        raise InputError(f"{path}: the file has no row. Write one row per requested history.")
    return table


def _column(path: Path, table: pl.DataFrame, name: str, kind: str, names: Names) -> pl.Series:
    """Convert one column to values of its kind. Raises InputError for the first invalid cell."""
    what, how = _EXPECTED[kind]
    raw = table[name]
    values = table.select(_values(pl.col(name), raw.dtype, kind, names)).to_series()
    if (bad := values.is_null().arg_true()).len():
        row = int(bad[0])
        cell = raw[row]
        why = "it is empty" if cell is None or (isinstance(cell, str) and not cell.strip()) else f"it is not {what}"
        others = f", as in {bad.len() - 1:,} further rows" if bad.len() > 1 else ""
        raise InputError(f"{path}, row {row + 1:,} below the header, column {name}: {why}{others}. {how}")
    return values


def _values(column: pl.Expr, dtype: pl.DataType, kind: str, names: Names) -> pl.Expr:
    """Convert a column of type `dtype` to values of a kind; an invalid cell becomes null."""
    if dtype in _TEXTS:
        return _from_text(column.cast(pl.String).str.strip_chars(), kind, names)
    if kind == PATIENT and dtype.is_integer():
        return column.cast(pl.String)
    if kind == SUBJECT and dtype.is_integer():
        return column.cast(pl.Int64, strict=False)
    if kind == TIME and dtype in (pl.Datetime, pl.Date):
        return column.cast(pl.Datetime("us"))
    if kind == DATE and dtype in (pl.Datetime, pl.Date):
        return column.cast(pl.Date)
    if kind == LABEL and dtype == pl.Boolean:
        return column
    return pl.when(False).then(column)


def _from_text(text: pl.Expr, kind: str, names: Names) -> pl.Expr:
    if kind == PATIENT:
        return pl.when(text != "").then(text)
    if kind == SUBJECT:
        return text.cast(pl.Int64, strict=False)
    if kind == DATE:
        return pl.when(~dates.ambiguous(text, names.date_formats)).then(dates.parse(text, names.date_formats))
    if kind == TIME:
        text = text.str.replace(_ZONE, "")
        return pl.coalesce(text.str.to_datetime(form, strict=False, time_unit="us") for form in _TIMES)
    return text.str.to_lowercase().replace_strict({"true": True, "false": False, "1": True, "0": False}, default=None)
