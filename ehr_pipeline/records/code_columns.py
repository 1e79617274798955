"""Rows with several columns of codes, as in claims, become one row for each code. A code may have its system in another column."""

from dataclasses import replace
from functools import partial

import polars as pl

from ehr_pipeline.records.events import NAMES_SYSTEM
from ehr_pipeline.records.kinds import EventKind
from ehr_pipeline.records.layouts import EventFiles
from ehr_pipeline.records.sources.meds import Meds, event_code

SYSTEM, UNNAMED = "code_system", "unnamed"
"""Name of the column; and the system of codes for which it is empty."""


def event_kind(where: str, files: EventFiles) -> EventKind:
    """Return the kind of event file that a table [[records.events]] describes."""
    columns = files.columns
    if not columns.further_codes and not columns.code_system:
        return EventKind(where=where, files=files)
    as_read = replace(files, code_system=NAMES_SYSTEM) if columns.code_system else files
    return EventKind(where=where, files=as_read, adapt=partial(_one_row_each, files))


def _one_row_each(files: EventFiles, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return rows of events (line, patient, date, code, …), and no rejected rows.

    An empty further code is no row. A row without any code stays, and is rejected later.
    """
    names = ["code", *(f"code:{number}" for number in range(len(files.columns.further_codes)))]
    others = [name for name in rows.columns if name not in names]
    is_code = [~pl.col(name).is_in(["", *files.no_code]) for name in names]
    none = ~pl.any_horizontal(is_code)
    wanted = [is_code[0] | none, *is_code[1:]] if len(names) > 1 else [pl.lit(True)]
    table = pl.concat(
        rows.filter(test).select(*others, code=name) for name, test in zip(names, wanted, strict=True)
    ).sort("line", maintain_order=True)
    if files.columns.code_system:
        table = _with_systems(table, "" if files.code_system == "snomed" else files.code_system).drop(SYSTEM)
    return table, pl.DataFrame(schema={"line": pl.Int64, "reason": pl.String})


def _with_systems(table: pl.DataFrame, prefix: str) -> pl.DataFrame:
    """Join each code with its system, whose name may have a prefix. SNOMED codes stay as they are."""
    pairs = table.select(SYSTEM, "code").unique().filter(pl.col("code") != "")
    named = pl.lit(prefix) + pl.col(SYSTEM).str.replace_all(r"[\s:/]+", "_")
    system = pl.when(named == "").then(pl.lit(UNNAMED)).otherwise(named)
    joined = pairs.with_columns(both=system + "//" + pl.col("code"))
    meant = pl.Series("meant", joined.select(code="both").select(event_code(Meds())).to_series())
    table = table.join(pairs.with_columns(meant), on=[SYSTEM, "code"], how="left", maintain_order="left")
    return table.with_columns(code=pl.coalesce("meant", "code")).drop("meant")
