"""Readers of UMLS Rich Release Format: '|' after every field, no header, no quoting, UTF-8 (UMLS Reference Manual, chapter 3)."""

from pathlib import Path

import polars as pl

from ehr_pipeline.errors import InputError
from ehr_pipeline.terminology.reading import label, reading, refuse_cut, refuse_other_formats

# The columns as listed in MRFILES.RRF of the UMLS.
_MRCONSO = "CUI,LAT,TS,LUI,STT,SUI,ISPREF,AUI,SAUI,SCUI,SDUI,SAB,TTY,CODE,STR,SRL,SUPPRESS,CVF"
_MRSAB = "VCUI,RCUI,VSAB,RSAB,SON,SF,SVER,VSTART,VEND,IMETA,RMETA,SLC,SCC,SRL,TFR,CFR,CXTY,TTYL,ATNL,LAT,CENC,CURVER,SABIN,SSN,SCIT"
MRCONSO = tuple(_MRCONSO.split(","))
MRSAB = tuple(_MRSAB.split(","))
MRSTY = ("CUI", "TUI", "STN", "STY", "ATUI", "CVF")
SETTINGS = {MRCONSO: "events.mrconso", MRSAB: "events.mrsab", MRSTY: "vocabulary.mrsty"}
"""The setting of the file with each layout."""
ATOMS = {"code": pl.String, "cui": pl.String, "name": pl.String, "suppress": pl.String, "preferred": pl.Boolean}
"""The columns of `snomed_atoms`."""


def scan(path: Path, columns: tuple[str, ...], *, ends_only: bool = False) -> pl.LazyFrame:
    """Return a lazy table of strings.

    Raises InputError if the file is missing, if it is not a text file, or if a line has too few or too many fields.
    With `ends_only`, only the beginning and the end of a large file are checked.
    """
    if not path.is_file():
        raise InputError(
            f"{label(path, SETTINGS[columns])}: there is no such file."
            f" It should be a UMLS file with the fields {' '.join(columns)}."
        )
    check_layout(path, columns)
    refuse_cut(path, SETTINGS[columns], b"|", len(columns), ends_only=ends_only)
    return pl.scan_csv(
        path,
        separator="|",
        has_header=False,
        quote_char=None,
        infer_schema=False,
        glob=False,
        new_columns=[*columns, "_end"],
    ).select(columns)


def check_layout(path: Path, columns: tuple[str, ...]) -> None:
    """Raise InputError unless the first line has the fields of the layout."""
    where = SETTINGS[columns]
    refuse_other_formats(path, where)
    with reading(path, where):
        try:
            first = pl.read_csv(
                path, separator="\n", has_header=False, quote_char=None, infer_schema=False, n_rows=1, glob=False
            )
        except pl.exceptions.PolarsError as error:
            raise InputError(
                f"{label(path, where)}, line 1: not readable as UMLS text ({type(error).__name__}). Copy the file again."
            ) from None
    fields = str(first.item(0, 0)).count("|") if len(first) else 0
    if fields != len(columns):
        raise InputError(
            f"{label(path, where)}, line 1: {fields} fields end in '|', but this UMLS file has {len(columns)}: {' '.join(columns)}."
            " Set the setting to a file of that kind."
        )


def snomed_atoms(path: Path, source: str, suppress: tuple[str, ...]) -> pl.DataFrame:
    """Return the atoms of one source vocabulary in MRCONSO, the best atom of each code first.

    Columns: code, cui, name, suppress, preferred (bool). Order within a code: SUPPRESS in the order of `suppress`, then
    preferred atoms (TS P, STT PF, ISPREF Y), then preferred terms, fully specified names and synonyms in this order,
    then the lowest CUI.
    """
    preferred = (pl.col("TS") == "P") & (pl.col("STT") == "PF") & (pl.col("ISPREF") == "Y")
    with reading(path, SETTINGS[MRCONSO]):
        atoms = (
            scan(path, MRCONSO)
            .filter((pl.col("SAB") == source) & pl.col("SUPPRESS").is_in(suppress))
            .select(
                code="CODE",
                cui="CUI",
                name="STR",
                suppress="SUPPRESS",
                preferred=preferred,
                suppress_rank=pl.col("SUPPRESS").replace_strict(
                    {value: rank for rank, value in enumerate(suppress)}, return_dtype=pl.Int8
                ),
                term_rank=pl.col("TTY").replace_strict({"PT": 0, "FN": 1}, default=2, return_dtype=pl.Int8),
            )
            .collect(engine="streaming")
        )
    if atoms.is_empty():
        raise InputError(
            f"{label(path, SETTINGS[MRCONSO])}: no atom of source {source!r} with SUPPRESS in {list(suppress)}."
            " Set events.source to a source vocabulary (SAB) in the file."
        )
    order = ["code", "suppress_rank", pl.col("preferred").not_(), "term_rank", "cui", "name"]
    return atoms.sort(order).select(*ATOMS)


def semantic_types(path: Path) -> pl.DataFrame:
    """Return the semantic types of concepts in MRSTY: distinct rows with columns cui and tui, sorted."""
    with reading(path, SETTINGS[MRSTY]):
        return scan(path, MRSTY).select(cui="CUI", tui="TUI").unique().sort("cui", "tui").collect(engine="streaming")


def source_version(path: Path, source: str) -> str:
    """Return the version of a source vocabulary in MRSAB, such as 'SNOMEDCT_US_2025_09_01'. Raises InputError if it is missing."""
    with reading(path, SETTINGS[MRSAB]):
        current = scan(path, MRSAB).filter(pl.col("RSAB") == source, pl.col("CURVER") == "Y").select("VSAB").collect()
    if current.is_empty():
        raise InputError(
            f"{label(path, SETTINGS[MRSAB])}: no current version of source {source!r} (events.source)."
            " Is it of the same UMLS release?"
        )
    return str(current.item(0, 0))
