"""Texts as cells of tables that people open in a spreadsheet: what begins with '=', '+', '-' or '@' is a formula to it.

Names of concepts come from files of others. See OWASP, 'CSV injection': an apostrophe before it makes it a text. The tables that
stages hand to each other stay as they are.
"""

import re

# A spreadsheet may divide a line at semicolons and tabs too, whatever the comma says.
_FORMULA = re.compile(r"(^|[;\t])(\s*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20])")
_BREAK = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]+")


def text(value: str) -> str:
    """A text that no spreadsheet calculates, in one line."""
    return _FORMULA.sub(r"\1\2'", _BREAK.sub(" ", value))
