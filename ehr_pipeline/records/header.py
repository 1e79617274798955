"""Read the header of a file: its columns, and the positions of the wanted ones."""

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline.errors import InputError
from ehr_pipeline.records.layouts import UNNAMED, DelimitedText, has_setting, setting

# A part of a line that shows it to be data rather than names of columns. Such lines are never shown.
DATA = re.compile(r"^[0-9]|[0-9]{3}")


@dataclass(frozen=True)
class Shape:
    """The columns of a file, and which of them are read."""

    names: tuple[str, ...]
    """Names of all columns, in their order."""
    places: dict[str, int]
    """The position of each wanted column."""

    @property
    def width(self) -> int:
        """The number of fields in a line."""
        return len(self.names)

    @property
    def file_names(self) -> dict[str, str]:
        """The names of the wanted columns in the file, by their names in the settings."""
        return {role: self.names[place] for role, place in self.places.items()}


def from_settings(path: Path, layout: DelimitedText, columns: Mapping[str, str], where: str) -> Shape | None:
    """Return the shape of files without a header line, from the settings; None for files with one."""
    return _shape(path, list(layout.header), layout, columns, where) if layout.header else None


def read(path: Path, line: str, layout: DelimitedText, columns: Mapping[str, str], where: str) -> Shape:
    """Return the shape of a file from its header line (without the line end). Raises InputError unless each wanted column occurs
    exactly once."""
    if "\0" in line:
        if has_setting(where, "encoding"):
            advice = f"set {setting(where, 'encoding')} to 'utf-16-le'"
        else:
            advice = f"convert it to {layout.encoding}, the encoding of this layout ({where})"
        raise InputError(
            f"{path}, line 1: NUL bytes. The file is not text, or UTF-16 without a byte order mark; in that case, {advice}."
        )
    return _shape(path, names(line, layout), layout, columns, where)


def names(line: str, layout: DelimitedText) -> list[str]:
    """Return the names of the columns in a header line (without its line end)."""
    return [name.strip() for name in fields(line, layout) or [line]]


def fields(line: str, layout: DelimitedText) -> list[str] | None:
    """Split one row (without its line end) by the rules of CSV; None if its quotes are wrong."""
    try:
        if layout.quote:
            return next(csv.reader([line], delimiter=layout.delimiter, strict=True, quotechar=layout.quote))
        return next(csv.reader([line], delimiter=layout.delimiter, strict=True, quoting=csv.QUOTE_NONE))
    except (csv.Error, StopIteration):
        return None


def _shape(path: Path, names: list[str], layout: DelimitedText, columns: Mapping[str, str], where: str) -> Shape:
    missing = {role: name for role, name in columns.items() if name not in names}
    if unnamed := [role for role, name in missing.items() if name == UNNAMED]:
        wanted = ", ".join(_setting(where, role) for role in unnamed)
        raise InputError(
            f"{path}, line {_line(layout)}: which column is the {', '.join(unnamed)}? Replace {UNNAMED!r} in {wanted} by its name."
            f" {_header_hint(names, where)}"
        )
    if missing:
        wanted = "; ".join(f"{name!r} ({_setting(where, role)})" for role, name in missing.items())
        raise InputError(
            f"{path}, line {_line(layout)}: no column {wanted}. {_header_hint(names, where)}"
            f"{_other_delimiter(names, layout, where)}{_comes_later(names, where)}"
            f"{_in_quotes(names, missing, layout, where)}"
        )
    for role, name in columns.items():
        if names.count(name) > 1:
            raise InputError(
                f"{path}, line {_line(layout)}: {names.count(name)} columns are named {name!r} ({_setting(where, role)}), and"
                " it is unclear which one is meant. Give them different names, or export the file without the others."
            )
    return Shape(tuple(names), {role: names.index(name) for role, name in columns.items()})


def _line(layout: DelimitedText) -> int:
    return layout.lines_before_header + 1


def _comes_later(names: list[str], where: str) -> str:
    """Return a hint if the first line looks like a title or a comment."""
    if not has_setting(where, "lines_before_header") or not (names[0].startswith("#") or len(names) == 1):
        return ""
    return f" If the header comes later, set {setting(where, 'lines_before_header')}."


def _header_hint(names: list[str], where: str) -> str:
    parts = [part.strip() for name in names for part in re.split(r"[\t,;| \"]", name)]
    if any(DATA.search(part) for part in parts):
        advice = (
            f"If the files have no header line, list their columns in {setting(where, 'header')}."
            if has_setting(where, "header")
            else f"Files of this layout ({where}) have a header line: export them with it."
        )
        return f"The first line looks like a row of data. {advice}"
    return f"The header has: {', '.join(names[:30])}."


def _in_quotes(names: list[str], missing: Mapping[str, str], layout: DelimitedText, where: str) -> str:
    """Return a hint if the wanted names are in quotes, as base R's write.table writes them."""
    for quote in "\"'":
        if not layout.quote and all(f"{quote}{name}{quote}" in names for name in missing.values()):
            return f" The names are in quotes: set {setting(where, 'quote')} to {quote!r}."
    return ""


def _other_delimiter(names: list[str], layout: DelimitedText, where: str) -> str:
    if len(names) > 1:
        return ""
    counts = {mark: names[0].count(mark) for mark in "\t,;|" if mark != layout.delimiter}
    best = max(counts, key=lambda mark: counts[mark])
    return (
        f" The line has only one field: the delimiter may be {best!r} ({setting(where, 'delimiter')})."
        if counts[best]
        else ""
    )


def _setting(where: str, role: str) -> str:
    """Return the setting for a column: 'records.events[0].columns.code', 'records.patients[0].attributes.region'."""
    kind, _, name = role.rpartition(":")
    if listed := {"code": "further_codes", "observation_ends": "observation_ends"}.get(kind):
        return setting(where, f"columns.{listed}")
    return setting(where, f"attributes.{name}" if kind else f"columns.{role}")
