"""Ids and whole numbers changed by exports: '317009.0' is 317009; '1.20E+14' is an id that a spreadsheet rounded.

If a column has an empty cell, pandas and R write its whole numbers as floating-point numbers; Oracle and Spark write decimals with
a fraction of zeros. These are read as the original whole numbers. A number in exponent form was rounded to a few digits, so several
ids became the same text, and the original cannot be recovered.
"""

import re

import polars as pl

INEXACT = "inexact_number"
"""The reason to reject rows with a rounded id, in text and in Parquet."""
# One digit before the point, as spreadsheets, R, Python and Java write it; or a sign in the exponent. '123e45' may be
# an id of hexadecimal digits; '1E50' followed by more characters may be a Read code or an ICD-11 code.
_D = "[0-9]"  # and not \d, which is any digit of Unicode
EXPONENT = (
    rf"^[+-]?(?:{_D}(?:[.,]{_D}+)?[eE][+-]?{_D}{{1,2}}|{_D}+(?:[.,]{_D}+)?[eE][+-]{_D}{{1,2}}"
    rf"|{_D}+[.,]{_D}+[eE]{_D}{{1,2}})$"
)
_WHOLE = r"^([+-]?[0-9]{1,19})\.0+$"
EXACT = 2**53
"""From this size, a whole number stored as float64 may differ from the original."""
ROUND_DIGITS = 15
"""Number of digits that a spreadsheet keeps; all further digits become zeros."""


def whole(text: pl.Expr, digits: int = 1) -> pl.Expr:
    """Remove the fraction of zeros from whole numbers of at least `digits` digits: '1950.0' becomes '1950'."""
    number = text.str.extract(_WHOLE)
    return pl.when(number.str.len_bytes() >= digits).then(number).otherwise(text)


def inexact(text: pl.Expr) -> pl.Expr:
    """Return whether texts are rounded numbers: in exponent form, or with a fraction of zeros and not exact as float64."""
    number = text.str.extract(_WHOLE).cast(pl.Int64, strict=False)
    return text.str.contains(EXPONENT) | (number.abs() >= EXACT).fill_null(False)


def is_inexact(text: str) -> bool:
    """Return whether one text is a rounded number (see `inexact`)."""
    number = re.match(_WHOLE, text)
    return bool(re.match(EXPONENT, text)) or (number is not None and abs(int(number[1])) >= EXACT)


def share_rounded(texts: pl.Series) -> float:
    """Return the share of numbers in which all digits after the 15th are zero, among numbers with more than 15 digits.

    0 if there are fewer than 10 such numbers. A spreadsheet keeps only 15 digits; the others become zeros. By chance, this share
    would be a tenth for ids of 16 digits, a hundredth for 17, and a thousandth for 18.
    """
    long = texts.filter(texts.str.contains(rf"^[0-9]{{{ROUND_DIGITS + 1},19}}$"))
    zeros = long.str.slice(ROUND_DIGITS).str.contains(r"^0+$")
    return int(zeros.sum()) / len(long) if len(long) >= 10 else 0.0
