r"""Write texts into CSV cells so that they are harmless in a spreadsheet, and are the same text when read back.

A spreadsheet takes a cell that begins with '=', '+', '-' or '@' for a formula (OWASP, "CSV injection"); a leading
apostrophe makes it text. Control characters and direction marks, which can hide the content of a cell, are escaped:
`\u{202e}`. `plain` undoes both, so no name changes on its way from stage to stage. A cell that is entirely a number
stays a number.
"""

import csv
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from ehr_pipeline.errors import CONTROLS, DIRECTIONS, SURROGATES, Damaged

if TYPE_CHECKING:
    import polars as pl

_BEGINS = "[=+\\-@\uff1d\uff0b\uff0d\uff20]"
_NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
# A spreadsheet may split a line at semicolons too, even though the separator is a comma.
_FORMULA = re.compile(rf"(^|;)(\s*'*)(?={_BEGINS})")
_NO_FORMULA = re.compile(rf"(^|;)(\s*)'('*)(?={_BEGINS})")
# A character to escape, or text that looks like an escape; backslashes before either are doubled.
_INVISIBLE = re.compile(rf"(?<!\\)(\\*)(?:([{CONTROLS}{DIRECTIONS}{SURROGATES}])|(?=u\{{))")
_SPELLED = re.compile(r"(?<!\\)(\\+)u\{(?:([0-9a-f]{1,6})\})?")
# The same for whole columns, in polars' regex syntax: cells that may have to be changed.
_HARMFUL = rf"(?:^|;)\s*'*{_BEGINS}|[{CONTROLS}{DIRECTIONS}]|\\u\{{"
_CHANGED = rf"(?:^|;)\s*'+{_BEGINS}|\\u\{{"


def text(value: str) -> str:
    """Return a text as a cell that no spreadsheet evaluates: one line, without invisible characters."""
    if _NUMBER.fullmatch(value):
        return value
    return _FORMULA.sub(r"\1\2'", _INVISIBLE.sub(_spell, value))


def plain(value: str) -> str:
    """Return the original text of a cell that `text` made."""
    if "'" not in value and "\\" not in value:
        return value
    return _SPELLED.sub(_unescaped, _NO_FORMULA.sub(r"\1\2\3", value))


def write(path: Path, schema: pa.Schema, lines: Iterable[Iterable[object]]) -> None:
    """Write a table with a header. Texts become cells; a number may be given as text with the digits to show."""
    texts = [pa.types.is_string(field.type) for field in schema]
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(schema.names)
        for row in lines:
            writer.writerow([text(str(cell)) if of else cell for of, cell in zip(texts, row, strict=True)])


def read(path: Path, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table that `write` wrote: original texts, other values in their types; None for an empty cell.

    Columns that are not in the schema are ignored. Raises Damaged if the file is not such a table.
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
            f"{path}: {problem}. Rebuild the asset (ehr-pipeline run), or copy its whole folder again from where it was made."
        ) from error


def read_tables(folder: Path, schemas: Mapping[str, pa.Schema]) -> dict[str, tuple[dict[str, Any], ...]]:
    """Read the tables that `write_tables` wrote, by name. Raises Damaged."""
    return {name: tuple(read(folder / f"{name}.csv", schema)) for name, schema in schemas.items()}


def write_tables(
    folder: Path, schemas: Mapping[str, pa.Schema], tables: Mapping[str, Iterable[Mapping[str, Any]]]
) -> None:
    """Write tables, each as a file of its name; None and NaN become empty cells."""
    for name, schema in schemas.items():
        cells = ([row[column] for column in schema.names] for row in tables[name])
        lines = (["" if cell is None or cell != cell else cell for cell in row] for row in cells)
        write(folder / f"{name}.csv", schema, lines)


def _value_of(kind: pa.DataType) -> Callable[[str], Any]:
    """Return the function that converts the text of a cell to a value of a column's type."""
    if pa.types.is_string(kind):
        return plain
    if pa.types.is_boolean(kind):
        return lambda cell: cell.lower() == "true" if cell else None
    number = int if pa.types.is_integer(kind) else float
    return lambda cell: number(cell) if cell else None


def table(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return the table with its texts turned into cells."""
    return _with(frame, _HARMFUL, text)


def plain_table(frame: "pl.DataFrame") -> "pl.DataFrame":
    """Return a table that was read from cells, with its original texts."""
    return _with(frame, _CHANGED, plain)


def _with(frame: "pl.DataFrame", pattern: str, change: Callable[[str], str]) -> "pl.DataFrame":
    """Apply `change` only to the text columns that contain a match, since most tables have none."""
    import polars as pl  # imported here, since GPU workers read cells but have no polars

    texts = [name for name, kind in frame.schema.items() if kind == pl.String]
    return frame.with_columns(
        frame[name].map_elements(change, return_dtype=pl.String)
        for name in texts
        if frame[name].str.contains(pattern).any()
    )


def _spell(found: "re.Match[str]") -> str:
    return found[1] * 2 + (f"\\u{{{ord(found[2]):x}}}" if found[2] else "")


def _unescaped(found: "re.Match[str]") -> str:
    half, spells = divmod(len(found[1]), 2)
    if not spells:
        return "\\" * half + found[0][2 * half :]
    code = int(found[2], 16) if found[2] else sys.maxunicode + 1
    return "\\" * half + chr(code) if code <= sys.maxunicode else found[0]
