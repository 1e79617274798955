"""Recognise several columns of codes in a row (icd1, icd2, …), and a column with the system of each code."""

import re
from collections.abc import Sequence

import polars as pl

from ehr_pipeline.planning import guess_codes
from ehr_pipeline.planning.guess_format import Sniffed, plain, share
from ehr_pipeline.planning.text_head import ALMOST

NUMBER = re.compile(r"[0-9]+$")
MOST_SYSTEMS = 40
NAME_OF_SYSTEM = (
    r"(?i)^(?:snomed|sct|ctv3|read|icd|icpc|rxnorm|loinc|atc|cpt|hcpcs|ndc|cvx|opcs|dm\+?d|bnf|gemscript|medcode|oxmis)"
    r"(?:[0-9 ._/()+-]|cm|pcs|proc|who|gm|am|se|ca|ct|us|uk|int|extension|codes?|version|v)*$"
)
"""Names of code systems, as a column of systems has them."""
ICD, VERSIONS = "icd", {"9", "10", "11"}


def first_of_series(names: Sequence[str]) -> str:
    """Return the first of some columns whose names differ only in a number at the end; empty if they are no such series."""
    return names[0] if len(names) > 1 and len({_stem(name) for name in names}) == 1 else ""


def further(one: Sniffed, named: Sequence[str]) -> list[str]:
    """Return the columns of further codes: those that the user `named`, or whose names differ from the code's only in their number.

    Columns of a series may be empty; the others have codes of the same system.
    """
    code = one.column("code")
    own = [name for name in named if name in one.table.columns and name != code]
    if own or not code:
        return own
    system = guess_codes.code_system(one.values(code), code)
    taken = set(one.roles.values())
    alike = [
        name
        for name in one.table.columns
        if name != code and name not in taken and _stem(name) == _stem(code) and NUMBER.search(plain(name))
    ]
    same = [name for name in alike if _are_of(one.values(name), name, system)]
    return same if any(len(one.values(name)) for name in same) else []


def column_of_systems(one: Sniffed, free: Sequence[str]) -> str:
    """Return the only column, among those that are `free`, whose values are names of code systems, or versions of the ICD."""
    found = [name for name in free if _are_systems(one.values(name)) or is_version(one, name)]
    return found[0] if len(found) == 1 else ""


def is_version(one: Sniffed, name: str) -> bool:
    """Return whether a column has versions of the ICD, as `icd_version` in MIMIC-IV."""
    values = set(one.values(name))
    return ICD in plain(name) and "version" in plain(name) and bool(values) and values <= VERSIONS


def _stem(name: str) -> str:
    return NUMBER.sub("", plain(name))


def _are_of(values: pl.Series, name: str, system: str) -> bool:
    shape = guess_codes.SHAPES.get(system)
    return (
        not len(values)
        or guess_codes.code_system(values, name) == system
        or bool(shape and share(values, shape) >= ALMOST)
    )


def _are_systems(values: pl.Series) -> bool:
    return 0 < values.n_unique() <= MOST_SYSTEMS and share(values, NAME_OF_SYSTEM) >= ALMOST
