"""Faults of rows as known from UK extracts ('dirt'), added at known rates and counted."""

from collections import Counter
from collections.abc import Iterable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ehr_pipeline.records.settings import SENTINEL_DATES
from ehr_pipeline.synthetic.visits import hash_unit
from ehr_pipeline.terminology import snomed

# Share of rows that get each kind of dirt; no row gets two. Rows with dirt of the first group are rejected, for reasons of the
# same names as in `ehr_pipeline.records`; rows with dirt of the second are read, and later collapsed, mapped or left unmapped.
REJECTED = {
    "sentinel_date": 0.003,
    "future_date": 0.0005,
    "before_birth": 0.0005,
    "partial_date": 0.0005,
    "unparsable_date": 0.0003,
    "missing_date": 0.0005,
    "missing_code": 0.0003,
    "ill_formed_code": 0.0005,
    "inexact_number": 0,  # counted among the rows drawn as ill_formed_code
    "unknown_patient": 0.0005,
    "missing_patient": 0.0002,
    "wrong_number_of_fields": 0.0003,
}
HARMLESS = {
    "stray_spaces": 0.01,
    "duplicate_row": 0.01,
    "read_code": 0.01,
    "description_id": 0.01,
    "bad_check_digit": 0.0005,
}

ROUNDED = "1.95967E+08"
READ_CODES = (
    *("H33..", "246..", "2469.", "246A.", "22A..", "229..", "1371.", "137R.", "M161.", "M111.", "8B3S.", "9N36."),
    *("XE0Uc", "X101x", "H33..00"),
)


def soil(
    rng: np.random.Generator, rows: pl.DataFrame, birth_year: NDArray[np.int64], delimiter: str
) -> tuple[pl.DataFrame, Counter[str]]:
    """Add dirt to clean rows (patient, date as dd/mm/yyyy, code; all strings).

    `birth_year` (n,) is that of each row's patient. Returns the lines as one column `line`, and the number of rows with each kind.
    """
    rates = REJECTED | HARMLESS
    kinds = np.array(["", *rates])
    kind = kinds[rng.choice(len(kinds), rows.height, p=[1 - sum(rates.values()), *rates.values()])]
    # Codes are few and most rows stay clean: only distinct codes and dirty rows are looked at one by one.
    codes = rows["code"].unique()
    international = codes.filter(snomed.classify(codes)["namespace"] == "international")
    extension = ~rows["code"].is_in(international.implode()).to_numpy()
    kind[(kind == "description_id") & extension] = ""  # description ids of extensions have another form
    dirty = np.flatnonzero(kind != "")
    columns = {name: rows[name].gather(dirty).to_numpy().astype(object) for name in ("patient", "date", "code")}
    for name in rates:
        _apply(name, rng, columns, np.flatnonzero(kind[dirty] == name), birth_year[dirty])
    kind[dirty[columns["code"] == ROUNDED]] = "inexact_number"
    soiled = columns["patient"] + delimiter + columns["date"] + delimiter + columns["code"]
    ragged = kind[dirty] == "wrong_number_of_fields"
    soiled[ragged] = columns["patient"][ragged] + delimiter + columns["date"][ragged]
    lines = rows.select(line=pl.concat_str("patient", "date", "code", separator=delimiter))["line"]
    lines = lines.scatter(dirty, pl.Series(soiled, dtype=pl.String))
    lines = pl.concat([lines, lines.gather(np.flatnonzero(kind == "duplicate_row"))])
    return pl.DataFrame({"line": lines}), Counter(kind[dirty].tolist())


def _apply(
    name: str,
    rng: np.random.Generator,
    columns: dict[str, NDArray[np.object_]],
    here: NDArray[np.int64],
    birth_year: NDArray[np.int64],
) -> None:
    """Put the dirt called `name` into the rows `here`, changing `columns` in place."""
    patient, date, code = columns["patient"], columns["date"], columns["code"]
    match name:
        case "sentinel_date":
            date[here] = rng.choice([f"{d[8:]}/{d[5:7]}/{d[:4]}" for d in SENTINEL_DATES], len(here))
        case "future_date":
            date[here] = [
                f"{d:02d}/06/{y}"
                for d, y in zip(rng.integers(1, 29, len(here)), rng.integers(2025, 2036, len(here)), strict=True)
            ]
        case "before_birth":
            date[here] = [f"15/05/{year - 3}" for year in birth_year[here]]
        case "partial_date":
            date[here] = [text[6:] for text in date[here]]
        case "unparsable_date":
            date[here] = rng.choice(["31/02/2011", "00/00/0000", "unknown", "2011/13/45"], len(here))
        case "missing_date":
            date[here] = ""
        case "missing_code":
            code[here] = ""
        case "ill_formed_code":
            code[here] = rng.choice(["?", "n.k.", "12AB-7", "see notes", ROUNDED], len(here))
        case "unknown_patient":
            patient[here] = [str(number) for number in rng.integers(10_000_000, 99_999_999, len(here))]
        case "missing_patient":
            patient[here] = ""
        case "stray_spaces":
            code[here] = [f" {text}  " for text in code[here]]
        case "read_code":
            code[here] = rng.choice(READ_CODES, len(here))
        case "description_id":
            code[here] = description_ids(code[here])
        case "bad_check_digit":
            code[here] = [text[:-1] + str((int(text[-1]) + 1) % 10) for text in code[here]]


def description_ids(concept_ids: Iterable[str]) -> list[str]:
    """Return invented but well-formed description ids (partition 01), one for each concept id."""
    stems = [int(10_000 + hash_unit(concept) * 9_000_000) * 100 + 1 for concept in concept_ids]
    return [str(number) for number in snomed.with_check_digit(np.array(stems, np.int64)).tolist()]
