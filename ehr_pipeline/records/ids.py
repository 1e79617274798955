"""Ids and whole numbers as exports write them: '317009.0' is 317009; '1.20E+14' is an id that a spreadsheet rounded.

If a column has an empty cell, pandas and R write its whole numbers as floating-point numbers; Oracle and Spark write decimals
with a fraction of zeros. These are read as the original whole numbers. A number in exponent form was rounded to a few digits, so
that the ids of several people became the same text: whose id it was cannot be recovered.
"""

import re

import polars as pl

INEXACT = "inexact_number"
"""Why rows with a rounded id are rejected, in text and in Parquet."""
# One digit before the point, as spreadsheets, R, Python and Java write it; or a sign in the exponent. '123e45' may be
# an id of hexadecimal digits; '1E50' followed by more characters may be a Read code or an ICD-11 code.
_D = "[0-9]"  # and not \d, which is any digit of Unicode
EXPONENT = (
    rf"^[+-]?(?:{_D}(?:[.,]{_D}+)?[eE][+-]?{_D}{{1,2}}|{_D}+(?:[.,]{_D}+)?[eE][+-]{_D}{{1,2}}"
    rf"|{_D}+[.,]{_D}+[eE]{_D}{{1,2}})$"
)
_WHOLE = r"^([+-]?[0-9]{1,19})\.0+$"
EXACT = 2**53
"""From here on, a whole number stored as float64 may differ from the one that was meant."""
ROUND_DIGITS = 15
"""Number of digits that a spreadsheet keeps; it turns all further digits into zeros."""


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

    The share is 0 if there are fewer than 10 such numbers. A spreadsheet keeps only the first 15 digits of a number, and turns the
    others into zeros. By chance, this share would be a tenth for ids of 16 digits, a hundredth for 17, and a thousandth for 18.
    """
    long = texts.filter(texts.str.contains(rf"^[0-9]{{{ROUND_DIGITS + 1},19}}$"))
    zeros = long.str.slice(ROUND_DIGITS).str.contains(r"^0+$")
    return int(zeros.sum()) / len(long) if len(long) >= 10 else 0.0
