"""Codes in one spelling. Case means nothing in ICD-10: some practices write c99.1. In Read codes it tells codes apart."""

import re

import polars as pl

_ICD10 = r"(?:[Ii][Cc][Dd][-_]?10[^:/]*:)"
_PARTS = rf"^({_ICD10})([^/]*)(.*)$"


def one_spelling(code: pl.Expr) -> pl.Expr:
    """Return codes with those of ICD-10, in any of its editions, in upper case: 'icd10:c99.1' becomes 'icd10:C99.1'."""
    parts = [code.str.extract(_PARTS, number) for number in (1, 2, 3)]
    return pl.coalesce(pl.concat_str([parts[0], parts[1].str.to_uppercase(), parts[2]]), code)


def spelled(code: str) -> str:
    """Return one code as `one_spelling` does."""
    return re.sub(_PARTS, lambda found: f"{found[1]}{found[2].upper()}{found[3]}", code)
