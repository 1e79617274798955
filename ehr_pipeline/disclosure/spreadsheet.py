r"""Texts as cells of CSV tables, which people open in a spreadsheet: harmless there, and the same text when they are read back.

To a spreadsheet a cell is a formula that begins with '=', '+', '-' or '@' (OWASP, "CSV injection"); an apostrophe before it makes
it a text. Control characters and marks of direction, which can hide what a cell holds, are spelled: `\u{202e}`. Both are undone by
`plain`, so no name changes on its way from stage to stage. What is a number altogether stays one.
"""

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ehr_pipeline.errors import CONTROLS, DIRECTIONS, SURROGATES, Damaged

if TYPE_CHECKING:
    import polars as pl

_BEGINS = "[=+\\-@\uff1d\uff0b\uff0d\uff20]"
_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
# A spreadsheet may divide a line at semicolons too, whatever the comma says.
_FORMULA = re.compile(rf"(^|;)(\s*'*)(?={_BEGINS})")
_NO_FORMULA = re.compile(rf"(^|;)(\s*)'('*)(?={_BEGINS})")
# A character that is spelled, or what looks as if one were: backslashes before either are doubled.
_UNSEEN = re.compile(rf"(?<!\\)(\\*)(?:([{CONTROLS}{DIRECTIONS}{SURROGATES}])|(?=u\{{))")
_SPELLED = re.compile(r"(?<!\\)(\\+)u\{(?:([0-9a-f]{1,6})\})?")
# The same for whole columns, in the syntax of polars: what may have to be changed.
_HARMFUL = rf"(?:^|;)\s*'*{_BEGINS}|[{CONTROLS}{DIRECTIONS}]|\\u\{{"
_CHANGED = rf"(?:^|;)\s*'+{_BEGINS}|\\u\{{"


def text(value: str) -> str:
    """A text that no spreadsheet calculates, in one line, with nothing in it that cannot be seen."""
    if _NUMBER.fullmatch(value):
        return value
    return _FORMULA.sub(r"\1\2'", _UNSEEN.sub(_spell, value))


def plain(value: str) -> str:
    """The text of which `text` made a cell."""
    if "'" not in value and "\\" not in value:
        return value
    return _SPELLED.sub(_meant, _NO_FORMULA.sub(r"\1\2\3", value))


def write(path: Path, schema: pa.Schema, lines: Iterable[Iterable[object]]) -> None:
    """Write a table with a header. Texts become cells; a number may be given as the text that shows as many digits as it should."""
    texts = [pa.types.is_string(field.type) for field in schema]
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(schema.names)
        for row in lines:
            writer.writerow([text(str(cell)) if of else cell for of, cell in zip(texts, row, strict=True)])


def read(path: Path, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """The rows of a table that `write` wrote: texts plain, other values of their types; None where a cell is empty.

    Columns beyond the schema are left out. Raises Damaged where the file is not such a table.
    """
    kinds, problem = {field.name: _value_of(field.type) for field in schema}, "it cannot be read"
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            table = csv.DictReader(stream)
            if missing := [name for name in kinds if name not in (table.fieldnames or ())]:
                problem = f"it has no column {', '.join(missing)}"
                raise ValueError(problem)
            for row in table:
                yield {name: of(row[name]) for name, of in kinds.items()}
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise Damaged(
            f"{path}: {problem}. Make the asset again (ehr-pipeline run), or copy its whole folder again from where it was made."
        ) from error


def _value_of(kind: pa.DataType) -> Callable[[str], Any]:
    """What makes a value of a column of the text of a cell."""
    if pa.types.is_string(kind):
        return plain
    if pa.types.is_boolean(kind):
        return lambda cell: cell.lower() == "true" if cell else None
    number = int if pa.types.is_integer(kind) else float
    return lambda cell: number(cell) if cell else None


def table(frame: "pl.DataFrame") -> "pl.DataFrame":
    """A table whose texts are cells."""
    return _with(frame, _HARMFUL, text)


def plain_table(frame: "pl.DataFrame") -> "pl.DataFrame":
    """A table that was read from cells, with plain texts."""
    return _with(frame, _CHANGED, plain)


def _with(frame: "pl.DataFrame", pattern: str, change: Callable[[str], str]) -> "pl.DataFrame":
    """Change what matches, in the columns of texts in which anything does: most tables have none."""
    import polars as pl  # GPU workers read cells, and have none

    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    return frame.with_columns(
        frame[name].map_elements(change, return_dtype=pl.String)
        for name in texts
        if frame[name].str.contains(pattern).any()
    )


def _spell(found: "re.Match[str]") -> str:
    return found[1] * 2 + (f"\\u{{{ord(found[2]):x}}}" if found[2] else "")


def _meant(found: "re.Match[str]") -> str:
    half, spells = divmod(len(found[1]), 2)
    if not spells:
        return "\\" * half + found[0][2 * half :]
    code = int(found[2], 16) if found[2] else sys.maxunicode + 1
    return "\\" * half + chr(code) if code <= sys.maxunicode else found[0]
