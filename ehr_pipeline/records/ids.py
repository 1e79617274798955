"""Ids and whole numbers as exports write them: '317009.0' is 317009, and '1.20E+14' is what a spreadsheet left of an id.

Where a column holds an empty cell, pandas and R write its whole numbers as floating-point ones; Oracle and Spark write decimals
with a fraction of zeros. These are the numbers that they were. A number in exponent form was rounded to a few digits, so that the
ids of several people became one text: nobody can tell any more whose it is.
"""

import re

import polars as pl

INEXACT = "inexact_number"
"""Why rows with a rounded id are rejected, in text as in Parquet."""
# One digit before the point, as spreadsheets, R, Python and Java write it; or a sign in the exponent. '123e45' may be an id of
# hexadecimal digits, and '1E50' followed by more a Read code or one of ICD-11.
EXPONENT = r"^[+-]?(?:\d(?:[.,]\d+)?[eE][+-]?\d{1,2}|\d+(?:[.,]\d+)?[eE][+-]\d{1,2}|\d+[.,]\d+[eE]\d{1,2})$"
_WHOLE = r"^([+-]?\d{1,19})\.0+$"
EXACT = 2**53
"""From here on, whole numbers as float64 may be others than were meant."""
ROUND_DIGITS = 15
"""So many digits a spreadsheet keeps; it writes those that follow as zeros."""


def whole(text: pl.Expr, digits: int = 1) -> pl.Expr:
    """Texts, where whole numbers of at least so many digits lose a fraction of zeros: '1950.0' is '1950'."""
    number = text.str.extract(_WHOLE)
    return pl.when(number.str.len_bytes() >= digits).then(number).otherwise(text)


def inexact(text: pl.Expr) -> pl.Expr:
    """Whether texts are numbers that were rounded: in exponent form, or with a fraction of zeros beyond float64's whole numbers."""
    number = text.str.extract(_WHOLE).cast(pl.Int64, strict=False)
    return text.str.contains(EXPONENT) | (number.abs() >= EXACT).fill_null(False)


def is_inexact(text: str) -> bool:
    """Whether one text is a number that was rounded (`inexact`)."""
    number = re.match(_WHOLE, text)
    return bool(re.match(EXPONENT, text)) or (number is not None and abs(int(number[1])) >= EXACT)


def share_rounded(texts: pl.Series) -> float:
    """The share of long numbers, of more digits than a spreadsheet keeps, that end in zeros from there on; 0 where there are few.

    A tenth of such ids ends in one zero by chance, a hundredth in two, a thousandth in three.
    """
    long = texts.filter(texts.str.contains(rf"^\d{{{ROUND_DIGITS + 1},19}}$"))
    zeros = long.str.slice(ROUND_DIGITS).str.contains(r"^0+$")
    return int(zeros.sum()) / len(long) if len(long) >= 10 else 0.0
