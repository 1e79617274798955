"""Normalise the case of codes. In ICD-10, case has no meaning: some practices write c99.1. In Read codes, it distinguishes
codes."""

import re

import polars as pl

_ICD10 = r"(?:[Ii][Cc][Dd][-_]?10[^:/]*:)"
_PARTS = rf"^({_ICD10})([^/]*)(.*)$"


def normalise_codes(code: pl.Expr) -> pl.Expr:
    """Put ICD-10 codes, of any edition, in upper case: 'icd10:c99.1' becomes 'icd10:C99.1'. Other codes stay as they are."""
    parts = [code.str.extract(_PARTS, number) for number in (1, 2, 3)]
    return pl.coalesce(pl.concat_str([parts[0], parts[1].str.to_uppercase(), parts[2]]), code)


def normalise_code(code: str) -> str:
    """Normalise one code (see `normalise_codes`)."""
    return re.sub(_PARTS, lambda found: f"{found[1]}{found[2].upper()}{found[3]}", code)
