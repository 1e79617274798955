"""Merge the rows of patient files into one row per patient."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.tables.schemas import DATED, OBSERVATION

START, END = OBSERVATION


@dataclass(frozen=True)
class MergedRows:
    """One row per patient, and counts of the merged rows."""

    people: pl.DataFrame
    """One row per patient, sorted by id."""
    repeated: int
    """Number of rows that were merged into another row."""
    differing: Counter[str]
    """Number of patients with several known values in their rows, by column."""
    orphans: NDArray[np.bool_]
    """Flags (n,) of the rows without a birth whose patient has no row with one."""


def merge_rows(patients: pl.DataFrame) -> MergedRows:
    """Keep one row per patient: of those with the most precise birth, the first in sorted order.

    Missing values are taken from the patient's other rows; of several dates, the earliest. A sex or an attribute with several
    values becomes unknown. Rows without a birth only add values, and move the end of observation to the earliest end. If they have
    a start, they are periods of observation, which together last from the first start to the last end.
    """
    births = patients["birth_date"]
    full = patients.filter(births.is_not_null()) if births.null_count() else patients
    kept, births_differ, several = full.sort("patient_id", "birth_precision", *full.columns[1:]), 0, full.clear()
    if kept["patient_id"].n_unique() < kept.height:  # rare; with many buckets, every needless step counts
        distinct = kept.unique(maintain_order=True)
        several = distinct.filter(pl.col("patient_id").is_duplicated())
        first = distinct.unique("patient_id", keep="first", maintain_order=True)
        kept = _with_additions(first, several, earliest_end=False)
        births_differ = _differing_births(several)
    orphans = np.zeros(patients.height, bool)
    if full.height < patients.height:
        born = births.is_not_null()
        orphans = (~born & ~patients["patient_id"].is_in(kept["patient_id"].implode())).to_numpy()
        kept = _with_additions(kept, patients.filter(~born), earliest_end=True)
        several = patients.filter(~pl.Series(orphans))
    each = _differing(several)
    differing = Counter({"birth": births_differ}) + Counter({name: int(each[name].sum()) for name in each.columns[1:]})
    repeated = patients.height - kept.height - int(orphans.sum())
    return MergedRows(_without_contradicted(kept, each, differing), repeated, differing, orphans)


def _differing_births(rows: pl.DataFrame) -> int:
    """Count patients with contradictory births."""
    birth, precision = pl.col("birth_date"), pl.col("birth_precision")
    births = [
        birth.filter(precision.is_in(known)).dt.truncate(unit).n_unique() > 1
        for known, unit in ((["year", "month", "day"], "1y"), (["month", "day"], "1mo"), (["day"], "1d"))
    ]
    return int(rows.group_by("patient_id").agg(differ=pl.any_horizontal(births))["differ"].sum())


def _differing(rows: pl.DataFrame) -> pl.DataFrame:
    """Return, for each patient, flags of the columns (other than the birth) with several known values.

    The observation in a row without a birth only narrows the patient's observation, so it is not another value.
    """
    names, born = _other_columns(rows.columns), pl.col("birth_date").is_not_null()
    is_known = {name: _has_value(name) & born if name in OBSERVATION else _has_value(name) for name in names}
    known = rows.select("patient_id", **{name: pl.when(is_known[name]).then(name) for name in names})
    return known.group_by("patient_id").agg((pl.col(name).max() != pl.col(name).min()).alias(name) for name in names)


def _without_contradicted(kept: pl.DataFrame, each: pl.DataFrame, differing: Counter[str]) -> pl.DataFrame:
    """Empty each text for which a patient has several values: any choice would be a guess."""
    names = [name for name in _other_columns(kept.columns) if name not in DATED and differing[name]]
    for name in names:
        several = pl.col("patient_id").is_in(each.filter(pl.col(name))["patient_id"].implode())
        kept = kept.with_columns(pl.when(several).then(pl.lit("")).otherwise(name).alias(name))
    return kept


def _other_columns(columns: Iterable[str]) -> list[str]:
    """Return the columns other than id, birth, and line."""
    return [name for name in columns if name not in ("patient_id", "birth_date", "birth_precision", "line")]


def _has_value(name: str) -> pl.Expr:
    return pl.col(name).is_not_null() if name in DATED else pl.col(name) != ""


def count_values(people: pl.DataFrame) -> dict[str, int]:
    """Count patients who have a value, by column."""
    return people.select(_has_value(name).sum().alias(name) for name in _other_columns(people.columns)).row(
        0, named=True
    )


def _with_additions(kept: pl.DataFrame, additions: pl.DataFrame, *, earliest_end: bool) -> pl.DataFrame:
    names = _other_columns(kept.columns)
    added = {name: pl.col(name).filter(_has_value(name)).min() for name in names}
    if earliest_end and set(OBSERVATION) <= set(names):
        added[END] = _end_with_periods()
    each = additions.group_by("patient_id").agg(value.alias(f"{name}:added") for name, value in added.items())
    joined = kept.join(each, on="patient_id", how="left", maintain_order="left")
    values = {name: pl.coalesce(pl.when(_has_value(name)).then(name), f"{name}:added") for name in names}
    values = {name: value if name in DATED else value.fill_null("") for name, value in values.items()}
    if END in names and earliest_end:
        values[END] = pl.min_horizontal(END, f"{END}:added")
    return joined.with_columns(**values).select(kept.columns)


def _end_with_periods() -> pl.Expr:
    """Return the earliest end in a patient's rows, where all periods of observation (rows with a start) count as one, with the
    latest of their ends."""
    period, end = pl.col(START).is_not_null(), pl.col(END)
    last = pl.when(end.filter(period).null_count() == 0).then(
        end.filter(period).max()
    )  # a period without an end continues
    return pl.min_horizontal(end.filter(~period).min(), last)
