"""Concept lists: small CSV files (code, cui, name, source) that a clinician can review and edit."""

import csv
from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline.errors import InputError
from ehr_pipeline.terminology.reading import named, why

COLUMNS = ("code", "cui", "name", "source")


@dataclass(frozen=True)
class ListedConcept:
    """One row of a concept list. A row has a SNOMED code, a CUI, or both; all are strings."""

    code: str
    cui: str
    name: str
    source: str


def read(path: Path, where: str = "") -> list[ListedConcept]:
    """Read a concept list. Raises InputError that names file, line, and the setting `where` that names the file."""
    told = named(path, where)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{told}: this concept list cannot be read: {why(error)}.") from None
    header = [name.strip().lower() for name in rows[0]] if rows else []
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise InputError(
            f"{told}, line 1: a concept list has the columns {', '.join(COLUMNS)}. Missing: {', '.join(missing)}."
        )
    places = [header.index(name) for name in COLUMNS]
    listed = []
    for number, row in enumerate(rows[1:], start=2):
        if not any(field.strip() for field in row):
            continue
        if len(row) != len(header):
            raise InputError(
                f"{told}, line {number}: {len(row)} fields, but the header has {len(header)}. Quote names that hold a comma."
            )
        concept = ListedConcept(*(row[place].strip() for place in places))
        if not concept.code and not concept.cui:
            raise InputError(f"{told}, line {number}: neither a code nor a CUI.")
        listed.append(concept)
    if not listed:
        raise InputError(f"{told}: this concept list is empty.")
    return listed


def concepts(path: Path, concept_of_code: dict[str, str], where: str = "") -> set[str]:
    """The concepts that a list stands for: its CUIs, and what its codes were mapped to."""
    found = set()
    for row in read(path, where):
        found |= {row.cui, concept_of_code.get(row.code, "")}
    return found - {""}
