"""Decide which columns of patients are numbers. They are stored as written, and compared as numbers.

A whole number can be a measure or a code: deciles, practices and regions are numbered too. So whole numbers are a measure only if
many different ones occur, either close together (ages, counts) or with few repeats (incomes). Decimal numbers are always a measure.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

Kind = Literal["number", "category"]
NUMBER = r"^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
THOUSANDS = r"^[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+(?:\.[0-9]+)?$"
"""A number with a comma between thousands."""
CODES = ("practice", "region", "ethnicity", "treatment", "race", "sex", "split")
"""Names of columns with codes, whatever their values look like."""
MAX_CATEGORIES = 10
"""Up to this many different whole numbers are categories: grades, deciles."""
MAX_RANGE = 1000
"""Whole numbers that repeat are codes if the largest and the smallest differ by at least this."""
REPEATED = 2
"""Whole numbers that lie far apart are codes if, on average, at least this many patients have the same number."""


def numbers(values: Iterable[str]) -> NDArray[np.float64]:
    """Convert texts to numbers (n,), with a point or a comma before the decimals; NaN where a text is not a number.

    Commas separate thousands if all values with a comma have that form: 45,000 or 1,234.5.
    """
    texts = pl.Series(list(values), dtype=pl.String).str.strip_chars()
    commas = texts.filter(texts.str.contains(",", literal=True))
    if commas.str.contains(THOUSANDS).all():
        texts = texts.str.replace_all(",", "", literal=True)
    texts = texts.str.replace(",", ".", literal=True)
    plain = pl.select(pl.when(texts.str.contains(NUMBER)).then(texts.str.strip_prefix("+"))).to_series()
    read: NDArray[np.float64] = plain.cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy().copy()
    read[~np.isfinite(read)] = np.nan
    return read


def guess(name: str, values: Iterable[str]) -> Kind:
    """Guess whether a column with this name and these non-empty values has numbers or categories."""
    given = [text for value in values if (text := value.strip())]
    known = sorted(set(given))
    read = numbers(known)
    if not known or name in CODES or np.isnan(read).any():
        return "category"
    if any(text.lstrip("+-").startswith("0") and text.lstrip("+-")[1:2].isdigit() for text in known):  # 007
        return "category"
    if (read != np.round(read)).any():
        return "number"
    different = len(np.unique(read))
    close = read.max() - read.min() < MAX_RANGE or len(given) < REPEATED * different
    return "number" if different > MAX_CATEGORIES and close else "category"


def in_words(name: str, values: Iterable[str], given: Kind | None) -> tuple[bool, str]:
    """Return whether an attribute's type is doubtful, and a description of the type; `given` is the type in the settings."""
    known = [text for value in values if (text := value.strip())]
    if given is None:
        kind = guess(name, known)
        return False, f"attribute {name}: a {kind}, judging by its first values (reports.attribute_types)"
    unread = float(np.isnan(numbers(known)).mean()) if known and given == "number" else 0.0
    if unread:
        return True, (
            f"attribute {name} is a number (reports.attribute_types), but about {max(100 * unread, 1):.0f} % of its first values"
            " are not numbers: their patients are left out of the audit."
        )
    return False, f"attribute {name}: a {given} (reports.attribute_types)"
