"""Guess which columns contain ids of patients, and whether two columns contain ids of the same ones."""

import polars as pl

from ehr_pipeline.planning.guess_format import MOST_VALUES, Sniffed, share
from ehr_pipeline.planning.text_head import ALMOST

UNIQUE = 0.9
"""In a file with one row for each patient, at least this share of the rows has a unique id."""
SHARED = 0.2
"""If two columns contain ids of the same patients, the first rows of both files have at least this share of the ids in common."""


def is_id(one: Sniffed, name: str) -> bool:
    """Return whether values may be ids: short, without blanks, and not all the same."""
    values = one.values(name)
    return values.n_unique() > 1 and share(values, r"^[A-Za-z0-9_./+=-]{1,64}$") >= ALMOST


def many(values: pl.Series) -> bool:
    """Return whether a column has as many different values as ids would have. A region, for example, has too few."""
    return values.n_unique() >= min(len(values), MOST_VALUES // 2) * UNIQUE


def shares(one: Sniffed, name: str, other: Sniffed) -> bool:
    """Return whether another file has a column with the same ids. In one of the two, nearly every row must have another id."""
    values = one.values(name)
    for column in other.table.columns:
        theirs = other.values(column)
        unique = one_each(values) or one_each(theirs)
        if is_id(other, column) and many(theirs) and unique and overlap(values, theirs):
            return True
    return False


def one_each(ids: pl.Series) -> bool:
    """Return whether nearly every row has a unique id."""
    return bool(ids.n_unique() >= UNIQUE * len(ids))


def overlap(ids: pl.Series, theirs: pl.Series) -> bool:
    """Return whether two columns contain ids of the same patients."""
    return len(set(ids) & set(theirs)) >= SHARED * min(ids.n_unique(), theirs.n_unique())
