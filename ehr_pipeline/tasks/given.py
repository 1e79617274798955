"""Index days that a user gives: a file in the MEDS label schema, located among the patients of the data set."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from ehr_pipeline.errors import InputError
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.tables import align, schemas
from ehr_pipeline.tasks import meds


def locate(path: Path, dataset: Artifact, key: Key, out: Path) -> int:
    """Write the rows of a file of labels whose patients are in the data set: patient_id, last_day, label (false if there is none).

    A subject_id is that of `export meds`, or else a patient id that is a number. Returns the number of all rows of the file.
    Raises InputError as `read` does.
    """
    table, parts = read(path), []
    for shard in dataset.files("patients"):
        ids = align.one_chunk(schemas.read(shard, ["patient_id"]).column("patient_id"))
        if "patient_id" in table.column_names:
            row = align.rows(table.column("patient_id"), ids)
        else:
            keyed = pa.array([meds.subject_id(patient, key) for patient in ids.to_pylist()], pa.int64())
            row = align.rows(table.column("subject_id"), keyed)
            row = np.where(row >= 0, row, align.rows(table.column("subject_id").cast(pa.string()), ids))
        here = np.flatnonzero(row >= 0)
        found = table.take(pa.array(here))
        has_label = "boolean_value" in table.column_names
        parts.append(
            pa.table(
                {
                    "patient_id": ids.take(pa.array(row[here])),
                    "last_day": meds.last_day(found.column("prediction_time")),
                    "label": found.column("boolean_value") if has_label else pa.array(np.zeros(len(here), bool)),
                }
            )
        )
    schemas.write(out, pa.concat_tables(parts))
    return int(table.num_rows)


def read(path: Path) -> pa.Table:
    """Read a file in the MEDS label schema: subject_id or patient_id, prediction_time, and boolean_value if it has one.

    Raises InputError for a file that cannot be read, without these columns, or with empty cells in them.
    """
    try:
        table = pl.read_csv(path, try_parse_dates=True) if path.suffix == ".csv" else pl.read_parquet(path, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path}: this file of labels cannot be read ({type(error).__name__}).") from None
    who = [name for name in ("patient_id", "subject_id") if name in table.columns][:1]
    if not who or "prediction_time" not in table.columns:
        raise InputError(f"{path}: a file of labels has the columns subject_id (or patient_id) and prediction_time.")
    kinds: dict[str, Any] = {
        "patient_id": pl.String,
        "subject_id": pl.Int64,
        "prediction_time": pl.Datetime("us"),
        "boolean_value": pl.Boolean,
    }
    wanted = [*who, "prediction_time", *(["boolean_value"] if "boolean_value" in table.columns else [])]
    try:
        table = table.select(pl.col(name).cast(kinds[name]) for name in wanted)
    except pl.exceptions.PolarsError:
        told = ", ".join(f"{name} {table.schema[name]}" for name in wanted)
        raise InputError(
            f"{path}: columns of a file of labels are not of the types of the MEDS label schema: {told}."
        ) from None
    if any(table[name].null_count() for name in wanted):
        raise InputError(f"{path}: a file of labels has empty cells in {', '.join(wanted)}.")
    if table.select(wanted[:2]).is_duplicated().any():
        raise InputError(f"{path}: a file of labels names a patient and time twice.")
    return table.to_arrow(compat_level=pl.CompatLevel.oldest())
