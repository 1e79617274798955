"""Files of patients and times: which patient, known until when. Under a study's names of columns, or in the MEDS label schema."""

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
_ZONE = r"(?:[Zz]|[+-]\d\d:?\d\d)$"
_TIMES = ("%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_TEXTS = (pl.String, pl.Categorical, pl.Enum)
_WANTED = {
    PATIENT: ("a patient id", "Write ids as they stand in the extract."),
    SUBJECT: ("a whole number", "Write ids as `ehr-pipeline export meds` does."),
    DATE: ("a date", "Write YYYY-MM-DD, or as the study's files of events do."),
    TIME: ("a time", "Write YYYY-MM-DD, or YYYY-MM-DDTHH:MM:SS."),
    LABEL: ("true or false", "Write true or false."),
}


@dataclass(frozen=True)
class Names:
    """How a study's files name patients and dates, besides the names of MEDS."""

    patient: Collection[str] = (PATIENT,)
    date: Collection[str] = ()
    date_formats: tuple[str, ...] = (dates.ISO,)


@dataclass(frozen=True)
class Asked:
    """The rows of such a file (N,), in its order."""

    who: pa.Array
    """Patient ids (text), or subject ids (whole numbers)."""
    last_day: NDArray[np.int32]
    """The last day that may be read, in days from 1970-01-01: the date itself, or the last day that ended by the time."""
    label: NDArray[np.bool_] | None
    """The column boolean_value, where there is one."""

    @property
    def by_subject(self) -> bool:
        """Whether `who` are subject ids."""
        return bool(pa.types.is_integer(self.who.type))

    def rows(self, ids: pa.Array, key: Key | None) -> NDArray[np.int64]:
        """The place (N,) of each row's patient among patient `ids`; -1 where the patient is not among them.

        A subject id is that of `export meds`, for which the store's `key` is needed, or else a patient id that is a number.
        """
        if not self.by_subject:
            return align.rows(self.who, ids)
        plain = align.rows(self.who.cast(pa.string()), ids)
        if key is None:
            return plain
        keyed = pa.array([meds.subject_id(patient, key) for patient in ids.to_pylist()], pa.int64())
        row = align.rows(self.who, keyed)
        return np.where(row >= 0, row, plain)


def read(path: Path, names: Names | None = None, *, once: bool = False) -> Asked:
    """Read a file of patients and times: CSV or Parquet, one row for each history that is asked for.

    Its columns are subject_id or the patient id, prediction_time or the date, and boolean_value if it has one. Raises InputError
    for a file that cannot be read, that lacks a column, or that holds a cell without such a value: with file, row and column, and
    what to write there, but nothing of what the file holds. With `once`, also where a patient and time are there twice.
    """
    names, table = names or Names(), _table(path)
    who = next((name for name in (*names.patient, SUBJECT) if name in table.columns), "")
    when = next((name for name in (*names.date, TIME) if name in table.columns), "")
    if not who or not when:
        needed = [
            " or ".join(dict.fromkeys((*each, other))) for each, other in ((names.patient, SUBJECT), (names.date, TIME))
        ]
        raise InputError(
            f"{path}: it needs a column {needed[0]}, and a column {needed[1]}, separated by commas if it is text."
        )
    kind = SUBJECT if who == SUBJECT else PATIENT
    ids = _column(path, table, who, kind, names).alias("who")
    days = _column(path, table, when, TIME if when == TIME else DATE, names)
    if once and pl.DataFrame([ids, days]).is_duplicated().any():
        raise InputError(f"{path}: a file of labels names a patient and time twice. Leave one of the rows.")
    last_day = meds.last_day(days.to_arrow()) if when == TIME else days.to_physical().to_numpy().astype(np.int32)
    label = _column(path, table, LABEL, LABEL, names).to_numpy() if LABEL in table.columns else None
    found = (
        pa.array(ids.to_numpy(), pa.int64()) if kind == SUBJECT else align.one_chunk(ids.to_arrow().cast(pa.string()))
    )
    return Asked(found, last_day, label)


def _table(path: Path) -> pl.DataFrame:
    """The columns of a file, as text where it is text."""
    try:
        if path.suffix == ".parquet":
            table = pl.read_parquet(path, glob=False)
        else:
            table = pl.read_csv(path, infer_schema=False, glob=False)
    except pl.exceptions.NoDataError:
        raise InputError(
            f"{path}: it is empty. Write a header and one row for each history that is asked for."
        ) from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path}: this file cannot be read as CSV or Parquet ({type(error).__name__}).") from None
    if not table.height:
        raise InputError(f"{path}: it has no row. Write one for each history that is asked for.")
    return table


def _column(path: Path, table: pl.DataFrame, name: str, kind: str, names: Names) -> pl.Series:
    """One column as values of its kind. Raises InputError for the first cell that is none."""
    what, how = _WANTED[kind]
    given = table[name]
    values = table.select(_values(pl.col(name), given.dtype, kind, names)).to_series()
    if (bad := values.is_null().arg_true()).len():
        row = int(bad[0])
        cell = given[row]
        why = "it is empty" if cell is None or (isinstance(cell, str) and not cell.strip()) else f"it is not {what}"
        others = f", as in {bad.len() - 1:,} further rows" if bad.len() > 1 else ""
        raise InputError(f"{path}, row {row + 1:,} below the header, column {name}: {why}{others}. {how}")
    return values


def _values(column: pl.Expr, dtype: pl.DataType, kind: str, names: Names) -> pl.Expr:
    """A column of a type as values of a kind; null where there is none."""
    if dtype in _TEXTS:
        return _of_text(column.cast(pl.String).str.strip_chars(), kind, names)
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


def _of_text(text: pl.Expr, kind: str, names: Names) -> pl.Expr:
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
