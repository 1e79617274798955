"""Concept lists: small CSV files (code, cui, name, source) that a clinician can review and edit.

`events.resolve_lists` maps the codes to concepts.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline.errors import InputError
from ehr_pipeline.terminology.reading import label, other_delimiter, read_rows

COLUMNS = ("code", "cui", "name", "source")
MAX_LINES = 20
"""How many lines a message lists; the others are only counted."""
NO_CODE_OR_CUI, FIND = "neither a code nor a CUI", " `ehr-pipeline find-codes` finds codes by words of their names."
WITH_SYSTEM = re.compile(r"[^\s:/]+:\S.*")
_CUI = re.compile(r"C[0-9]{7}")
_EXPONENT = re.compile(r"[0-9]+([.,][0-9]+)?E\+[0-9]+|[0-9][.,][0-9]+E[0-9]+", re.IGNORECASE)
_WHOLE = re.compile(r"([0-9]+)\.0+")
_READ = re.compile(r"[A-Za-z0-9][A-Za-z0-9.]{4}([0-9]{2})?")
_DIGITS = re.compile(r"[0-9]{6,}")
_OF_MEDS = re.compile(r"([A-Za-z][A-Za-z0-9_.-]{0,39})(?://?|:)([^/:].*)")
_SNOMED = re.compile(r"snomed.*|sct(id)?", re.IGNORECASE)
WRONG_IDS = {
    "bad_check_digit": "is a mistyped or rounded SNOMED id: its check digit is wrong",
    "other_component": "is the SNOMED id of a relationship or a reference set, not of a concept",
    "other": "is not a SNOMED id, which has 6 to 18 digits and does not begin with 0",
}
"""What is wrong with a number that is not a concept or description id, by its kind (`snomed.classify`)."""


@dataclass(frozen=True)
class ListedConcept:
    """One row of a concept list. A row has a code, a CUI, or both; all are strings.

    A code is a SNOMED id, a Read code, or `system:code` for any other system; a file may write it as in MEDS (`from_meds`). For a
    concept without a CUI, `cui` is its name in the vocabulary (`system:code`).
    """

    code: str
    cui: str
    name: str
    source: str
    line: int = 0


def read(path: Path, where: str = "", local_codes: bool = False) -> list[ListedConcept]:
    """Read a concept list. A fraction of zeros that a spreadsheet added to an id is removed: '123.0' is read as '123'.

    `where` is the file's setting, for messages. With `local_codes`, codes of any form are accepted, as a table of overrides
    contains codes as recorded. Raises InputError with the file, the wrong lines, and what is wrong with them.
    """
    file_label, rows = label(path, where), read_rows(path, where, "concept list")
    header = [name.strip().lower() for name in rows[0][1]] if rows else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        empty = " A row needs a code or a cui; its other fields may be empty, but all four columns are needed."
        by_name = "" if {"code", "cui"} & set(header) else FIND
        raise InputError(
            f"{file_label}, line 1: a concept list has the columns {', '.join(COLUMNS)}. Missing: {', '.join(missing)}."
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
                (line, f"{len(row)} fields, but the header has {len(header)}. Quote names that contain a comma")
            )
            continue
        code, cui, name, source = (row[place].strip() for place in places)
        if whole := _WHOLE.fullmatch(code):
            code = whole[1]
        if not local_codes:
            code = from_meds(code)
        listed.append(ListedConcept(code, cui, name, source, line))
    kinds = _kinds_of_ids(listed)
    problems += [(row.line, problem) for row in listed for problem in _problems(row, kinds, local_codes)]
    if problems:
        by_name = FIND if NO_CODE_OR_CUI in (problem for _, problem in problems) else ""
        raise InputError(f"{file_label}, {_joined(sorted(problems))}.{by_name}")
    if not listed:
        raise InputError(f"{file_label}: this concept list is empty.")
    return listed


def read_overrides(path: Path) -> list[ListedConcept]:
    """Read a table of overrides: a concept list in which every row has both a code, as it was recorded, and a concept."""
    where = "events.overrides"
    listed = read(path, where, local_codes=True)
    incomplete = [(row.line, "no code" if row.cui else "no CUI") for row in listed if not row.code or not row.cui]
    if incomplete:
        file_label = f"{label(path, where)}, {_joined(incomplete)}"
        raise InputError(f"{file_label}. Every row of a table of overrides needs both.")
    return listed


def from_meds(code: str) -> str:
    """Return a code of MEDS as extracts keep it: 'ICD10CM//I21.9' and 'ICD10CM/I21.9' as 'ICD10CM:I21.9', 'SNOMED//22298006' as its
    id. Other codes stay as they are."""
    if not (found := _OF_MEDS.fullmatch(code)):
        return code
    system, own = found.groups()
    return own if _SNOMED.fullmatch(system) and own.isdigit() else system + ":" + re.sub(r"\s+", "_", own)


def is_read(code: str) -> bool:
    """Return whether a code looks like a Read code (v2 or CTV3, with or without a term code) and not like a SNOMED id."""
    return bool(_READ.fullmatch(code)) and not _DIGITS.fullmatch(code)


def _joined(problems: list[tuple[int, str]]) -> str:
    """Join problems into one text: the first MAX_LINES with their lines, then how many more there are."""
    shown = "; ".join(f"line {line}: {problem}" for line, problem in problems[:MAX_LINES])
    left = len(problems) - MAX_LINES
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
        yield NO_CODE_OR_CUI
    if row.code and (problem := _wrong_code(row.code, kinds, local_codes)):
        yield f"code {_quoted(row.code)} {problem}"
    if row.cui and not _CUI.fullmatch(row.cui) and not WITH_SYSTEM.fullmatch(row.cui):
        yield f"CUI {_quoted(row.cui)} is not a C and seven digits, such as C0011615"


def _quoted(text: str) -> str:
    """Return a field as a message quotes it, cut after 40 characters."""
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _wrong_code(code: str, kinds: Mapping[str, str], local_codes: bool) -> str:
    """Return why a code is invalid; empty when it is valid."""
    if _EXPONENT.fullmatch(code):
        return "is a number that a spreadsheet rounded: its last digits are lost. Export the column as text"
    if code[0] in "'\"=":
        return "begins with a character by which spreadsheets mark text. Remove it"
    if code in kinds:
        return WRONG_IDS.get(kinds[code], "")
    if local_codes or WITH_SYSTEM.fullmatch(code) or is_read(code):
        return ""
    return "is neither a SNOMED id (6 to 18 digits) nor a Read code. Write a code of another system as system:code"
