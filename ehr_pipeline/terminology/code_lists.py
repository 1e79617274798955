"""Concept lists: small CSV files (code, cui, name, source) that a clinician can review and edit.

The steps of the mapping decide which concepts the codes stand for: see `events.resolve_lists`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline.errors import InputError
from ehr_pipeline.terminology.reading import named, other_delimiter, read_rows

COLUMNS = ("code", "cui", "name", "source")
SHOWN = 20
"""How many lines a message lists; the others are only counted."""
NO_CODE, FIND = "neither a code nor a CUI", " `ehr-pipeline find-codes` finds codes by words of their names."
OF_A_SYSTEM = re.compile(r"[^\s:/]+:\S.*")
_CUI = re.compile(r"C[0-9]{7}")
_EXPONENT = re.compile(r"[0-9]+([.,][0-9]+)?E\+[0-9]+|[0-9][.,][0-9]+E[0-9]+", re.IGNORECASE)
_WHOLE = re.compile(r"([0-9]+)\.0+")
_READ = re.compile(r"[A-Za-z0-9][A-Za-z0-9.]{4}([0-9]{2})?")
_DIGITS = re.compile(r"[0-9]{6,}")
WRONG_IDS = {
    "bad_check_digit": "is a mistyped or rounded SNOMED id: its check digit is wrong",
    "other_component": "is the SNOMED id of a relationship or a reference set, not of a concept",
    "other": "is no SNOMED id, which has 6 to 18 digits and does not begin with 0",
}
"""What is wrong with a number that is not a concept or description id, by its kind (`snomed.classify`)."""


@dataclass(frozen=True)
class ListedConcept:
    """One row of a concept list. A row has a code, a CUI, or both; all are strings.

    A code is a SNOMED id, a Read code, or `system:code` for any other system. For a concept without a CUI, `cui` holds
    its name in the vocabulary (`system:code`).
    """

    code: str
    cui: str
    name: str
    source: str
    line: int = 0


def read(path: Path, where: str = "", local_codes: bool = False) -> list[ListedConcept]:
    """Read a concept list. A fraction of zeros that a spreadsheet added to an id is removed: '123.0' is read as '123'.

    `where` is the setting that names the file, for messages. With `local_codes`, codes of any form are accepted; a
    table of overrides needs this, since it holds codes as they were recorded. Raises InputError, which names the file
    and says which lines are wrong, and why.
    """
    named_file, rows = named(path, where), read_rows(path, where, "concept list")
    header = [name.strip().lower() for name in rows[0][1]] if rows else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        empty = " A row needs a code or a cui; its other fields may be empty, but all four columns are there."
        by_name = "" if {"code", "cui"} & set(header) else FIND
        raise InputError(
            f"{named_file}, line 1: a concept list has the columns {', '.join(COLUMNS)}. Missing: {', '.join(missing)}."
            f"{other_delimiter(header) or empty + by_name}"
        )
    places = [header.index(name) for name in COLUMNS]
    listed: list[ListedConcept] = []
    problems: list[tuple[int, str]] = []
    for line, row in rows[1:]:
        if not any(field.strip() for field in row):
            continue
        if len(row) != len(header):
            problems.append(
                (line, f"{len(row)} fields, but the header has {len(header)}. Quote names that hold a comma")
            )
            continue
        code, cui, name, source = (row[place].strip() for place in places)
        if whole := _WHOLE.fullmatch(code):
            code = whole[1]
        listed.append(ListedConcept(code, cui, name, source, line))
    kinds = _kinds_of_ids(listed)
    problems += [(row.line, problem) for row in listed for problem in _problems(row, kinds, local_codes)]
    if problems:
        by_name = FIND if NO_CODE in (problem for _, problem in problems) else ""
        raise InputError(f"{named_file}, {_joined(sorted(problems))}.{by_name}")
    if not listed:
        raise InputError(f"{named_file}: this concept list is empty.")
    return listed


def read_overrides(path: Path) -> list[ListedConcept]:
    """Read a table of overrides: a concept list in which every row has both a code, as it was recorded, and a concept."""
    where = "events.overrides"
    listed = read(path, where, local_codes=True)
    incomplete = [(row.line, "no code" if row.cui else "no CUI") for row in listed if not row.code or not row.cui]
    if incomplete:
        named_file = f"{named(path, where)}, {_joined(incomplete)}"
        raise InputError(f"{named_file}. A table of overrides names both in every row.")
    return listed


def is_read(code: str) -> bool:
    """Return whether a code has the form of a Read code (v2 or CTV3, with or without a term code) and not of a SNOMED id."""
    return bool(_READ.fullmatch(code)) and not _DIGITS.fullmatch(code)


def _joined(problems: list[tuple[int, str]]) -> str:
    """Join the problems into one text: the first SHOWN problems with their lines, then how many more lines are wrong."""
    shown = "; ".join(f"line {line}: {problem}" for line, problem in problems[:SHOWN])
    left = len(problems) - SHOWN
    return shown + (f"; and {left} more lines" if left > 0 else "")


def _kinds_of_ids(listed: list[ListedConcept]) -> dict[str, str]:
    """Return the kind (`snomed.classify`) of each code that is a number of six digits or more."""
    import polars as pl

    from ehr_pipeline.terminology import snomed  # GPU workers read settings and lists, and have no polars

    numbers = sorted({row.code for row in listed if _DIGITS.fullmatch(row.code)})
    return dict(snomed.classify(pl.Series(numbers, dtype=pl.String)).select("code", "kind").iter_rows())


def _problems(row: ListedConcept, kinds: Mapping[str, str], local_codes: bool) -> Iterator[str]:
    """Yield what is wrong with a row."""
    if not row.code and not row.cui:
        yield NO_CODE
    if row.code and (problem := _wrong_code(row.code, kinds, local_codes)):
        yield f"code {_quoted(row.code)} {problem}"
    if row.cui and not _CUI.fullmatch(row.cui) and not OF_A_SYSTEM.fullmatch(row.cui):
        yield f"CUI {_quoted(row.cui)} is not a C and seven digits, such as C0011615"


def _quoted(text: str) -> str:
    """Return a field as a message quotes it, cut after 40 characters."""
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _wrong_code(code: str, kinds: Mapping[str, str], local_codes: bool) -> str:
    """Return why a code is invalid; empty when it is valid."""
    if _EXPONENT.fullmatch(code):
        return "is a number that a spreadsheet rounded: its last digits are lost. Export the column as text"
    if code[0] in "'\"=":
        return "begins with a mark by which spreadsheets tell a text. Leave it out"
    if code in kinds:
        return WRONG_IDS.get(kinds[code], "")
    if local_codes or OF_A_SYSTEM.fullmatch(code) or is_read(code):
        return ""
    return "is no SNOMED id, which has 6 to 18 digits, and no Read code. Name a code of another system as system:code"
