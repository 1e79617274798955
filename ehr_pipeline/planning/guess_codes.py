"""Guess the system of codes, by their shape and by the name of their column."""

import numpy as np
import polars as pl

from ehr_pipeline.planning.guess_format import plain, share
from ehr_pipeline.planning.text_head import ALMOST
from ehr_pipeline.records import events
from ehr_pipeline.terminology import snomed

READ = r"^[A-Za-z0-9][A-Za-z0-9.]{4}(?:[0-9]{2})?$"
ONLY_READ, FEW = r"^[0-9a-z]|\.$", 0.1
"""What only Read codes have: a digit or a small letter in front, or a dot at the end. At least the share FEW of them has it."""
SHAPES = {
    "atc": r"(?i)^[A-Z][0-9]{2}(?:[A-Z](?:[A-Z](?:[0-9]{2})?)?)?$",
    "icd10": r"(?i)^[A-Z][0-9][0-9A-Z](?:\.?[0-9A-Z]{1,4})?$",
    "loinc": r"^[0-9]{1,5}-[0-9]$",
    events.NAMES_SYSTEM: r"^[A-Za-z][A-Za-z0-9_.-]{0,39}:[^\s:]+$",
}
"""Codes of systems by their shape; the first that fits counts."""
ONLY_ATC, MOST_ATC = r"(?i)^[A-Z][0-9]{2}[A-WYZ]", 0.5
"""What codes of ATC have, but seldom those of ICD-10: a letter in the fourth place. At least the share MOST_ATC of them has it."""
SYSTEMS = {
    "snomed": "SNOMED CT",
    "icd10": "ICD-10",
    "atc": "ATC",
    "loinc": "LOINC",
    "read": "the Read Clinical Terms",
    events.NAMES_SYSTEM: "systems that they name themselves",
}
"""Systems that are recognised, as messages call them."""
NAMED_SYSTEMS = {"icd10": "icd10 cim10", "icd9": "icd9", "atc": "atc", "loinc": "loinc", "read": "readcode readv2 ctv3"}
NAMED_SYSTEMS |= {
    name: name for name in ("medcodeid", "prodcodeid", "icpc", "opcs", "bnf", "dmd", "ndc", "cpt", "rxnorm")
}
"""Words in the names of columns that show the system of the codes, where the shape of the codes does not."""


def code_system(values: pl.Series, column: str = "") -> str:
    """Return the system of codes, one of SYSTEMS; otherwise the system that the name of their column suggests, or 'local'."""
    if not len(values):
        return "snomed"
    digits = values.filter(values.str.contains(r"^[0-9]{6,18}$"))
    valid = int(snomed.verhoeff_valid(np.asarray(digits.cast(pl.Int64))).sum())
    read = int(values.str.contains(READ).sum())
    if valid >= ALMOST * len(digits) and len(digits) + read >= ALMOST * len(values) and len(digits) >= read:
        return "snomed"
    if read >= ALMOST * len(values) and share(values, ONLY_READ) >= FEW:
        return "read"
    name = next(
        (system for system, words in NAMED_SYSTEMS.items() if any(word in plain(column) for word in words.split())),
        "local",
    )
    shapes = [system for system, form in SHAPES.items() if share(values, form) >= ALMOST]
    if "atc" in shapes and name != "atc" and share(values, ONLY_ATC) < MOST_ATC:
        shapes.remove("atc")
    if shapes == ["icd10"] and values.str.slice(0, 1).str.to_uppercase().n_unique() == 1:
        shapes = []  # ids such as P0001 have this shape too
    return name if name in shapes else next(iter(shapes), name)


def rewritten_by_excel(values: pl.Series) -> bool:
    """Return whether some codes look like long numbers that a spreadsheet rewrote: 1.9E+08, or 195967001.0."""
    return bool(values.str.contains(r"^[0-9](?:[.,][0-9]+)?E\+[0-9]+$|^[0-9]{6,18}\.0$").any())
