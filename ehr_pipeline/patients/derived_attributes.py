"""Attributes derived from recorded codes by a rule in the settings, such as ethnicity, which many patient files lack."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from ehr_pipeline.errors import InputError
from ehr_pipeline.patients.settings import DerivedAttribute
from ehr_pipeline.tables import row_keys, schemas
from ehr_pipeline.terminology.reading import label, other_delimiter, read_rows
from ehr_pipeline.terminology.spelling import normalise_code

COLUMNS = ("code", "value")
# How one of several values of a patient is chosen: the columns to sort by, the most important first.
ORDER = {"most_recent": ("last", "often"), "most_frequent": ("often", "last")}


def setting(name: str) -> str:
    """Return the setting of the file with an attribute's codes."""
    return f"patients.derived.{name}.codes"


def read(path: str, where: str) -> dict[str, str]:
    """Read a table of codes: the attribute's value by normalised code. Raises InputError for a wrong layout, or a code with two
    values.

    `where` is the setting that names the file.
    """
    file_label, rows = label(path, where), read_rows(Path(path), where, "table of codes")
    header = rows[0][1] if rows else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise InputError(
            f"{file_label}, line 1: no column {', '.join(missing)}. It needs the columns code,value.{other_delimiter(header)}"
        )
    values: dict[str, str] = {}
    for line, row in rows[1:]:
        if not row:
            continue
        fields = dict(zip(header, row, strict=False))
        code, value = fields.get("code", "").strip(), fields.get("value", "").strip()
        if not code or not value:
            raise InputError(f"{file_label}, line {line}: a row needs both a code and a value.")
        if values.setdefault(normalise_code(code), value) != value:
            raise InputError(f"{file_label}, line {line}: code {code} has two values. Remove one of them.")
    return values


def fill(people: pa.Table, records: tuple[Path, ...], attributes: Mapping[str, DerivedAttribute]) -> pa.Table:
    """Add derived attributes to patients. A value from the patient file is kept; unknown values are empty."""
    for name, attribute in sorted(attributes.items()):
        derived = _values(records, attribute, setting(name))
        place = pc.index_in(people.column("patient_id"), value_set=pa.array(derived["patient"].to_list(), pa.string()))
        value = pc.fill_null(pa.array(derived["value"].to_list(), pa.string()).take(place.combine_chunks()), "")
        if name in people.column_names:
            given = people.column(name).combine_chunks()
            value = pc.if_else(pc.equal(pc.fill_null(given, ""), ""), value, given)
            people = people.set_column(people.column_names.index(name), pa.field(name, pa.string()), value)
        else:
            people = people.append_column(pa.field(name, pa.string()), value)
    return people


def _values(records: tuple[Path, ...], attribute: DerivedAttribute, where: str) -> pl.DataFrame:
    """Return the derived value of each patient who has one, as columns (patient, value)."""
    values = read(attribute.codes, where)
    parts = []
    for path in records:
        patient, day, code, ids, names = row_keys.from_table(schemas.read(path), "code")
        value_of = np.array([values.get(normalise_code(name), "") for name in names.to_pylist()], dtype=object)
        listed = np.flatnonzero(np.isin(code, np.flatnonzero(value_of != "")))
        parts.append(
            pl.DataFrame(
                {
                    "patient": pl.Series(ids.take(pa.array(patient[listed])).to_pylist(), dtype=pl.String),
                    "day": day[listed],
                    "value": pl.Series(value_of[code[listed]].tolist(), dtype=pl.String),
                }
            )
        )
    recorded = pl.concat(parts).unique()  # a value is counted once per day, however many codes or extracts contain it
    return (
        recorded.group_by("patient", "value")
        .agg(last=pl.col("day").max(), often=pl.len())
        .sort("patient", *ORDER[attribute.rule], "value", descending=[False, True, True, False])
        .unique("patient", keep="first", maintain_order=True)
        .select("patient", "value")
    )
