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
    """Return the first of some columns, if all belong to one series (dia1, dia2, …, and hdia); empty if they do not."""
    return next((name for name in names[:1] if len(_series(names, name)) == len(names) - 1 > 0), "")


def further(one: Sniffed, named: Sequence[str]) -> list[str]:
    """Return the columns of further codes: those that the user `named`, or those of the code's series (`first_of_series`).

    Columns of a series may be empty; the others have codes of the same system.
    """
    code = one.column("code")
    own = [name for name in named if name in one.table.columns and name != code]
    if own or not code:
        return own
    system = guess_codes.code_system(one.values(code), code)
    same = [name for name in _free_series(one) if _are_of(one.values(name), name, system)]
    return same if any(len(one.values(name)) for name in same) else []


def unlike(one: Sniffed, further: Sequence[str]) -> list[str]:
    """Return the columns of the code's series that are not `further` codes, because their values look different."""
    return [name for name in _free_series(one) if name not in further and _is_numbered(name)] if further else []


def _free_series(one: Sniffed) -> list[str]:
    taken = set(one.roles.values())
    return [name for name in _series(one.table.columns, one.column("code")) if name not in taken]


def column_of_systems(one: Sniffed, free: Sequence[str]) -> str:
    """Return the only column, among those that are `free`, whose values are names of code systems, or versions of the ICD."""
    found = [name for name in free if _are_systems(one.values(name)) or is_version(one, name)]
    return found[0] if len(found) == 1 else ""


def is_version(one: Sniffed, name: str) -> bool:
    """Return whether a column has versions of the ICD, as `icd_version` in MIMIC-IV."""
    values = set(one.values(name))
    return ICD in plain(name) and "version" in plain(name) and bool(values) and values <= VERSIONS


def _series(names: Sequence[str], code: str) -> list[str]:
    """Return the other columns of the series of a code: numbered ones, and those without a number that contain its name."""
    stems = {_stem(name) for name in names if _is_numbered(name)}
    stem = max((each for each in stems if len(each) > 1 and each in _stem(code)), key=len, default="")
    if not stem or (_is_numbered(code) and stem != _stem(code)):
        return []
    return [
        name for name in names if name != code and (_stem(name) == stem if _is_numbered(name) else stem in plain(name))
    ]


def _is_numbered(name: str) -> bool:
    return bool(NUMBER.search(plain(name)))


def _stem(name: str) -> str:
    return NUMBER.sub("", plain(name))


def _are_of(values: pl.Series, name: str, system: str) -> bool:
    """Return whether a column has codes of a system. A numbered one may be empty."""
    if not len(values):
        return _is_numbered(name)
    shape = guess_codes.SHAPES.get(system)
    return guess_codes.code_system(values, name) == system or bool(shape and share(values, shape) >= ALMOST)


def _are_systems(values: pl.Series) -> bool:
    return 0 < values.n_unique() <= MOST_SYSTEMS and share(values, NAME_OF_SYSTEM) >= ALMOST
