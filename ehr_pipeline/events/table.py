"""Read and write the mapping table (`mapping.csv`), which later stages use."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl
from polars import selectors

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.errors import Damaged

FILE = "mapping.csv"
_COUNTS = ("events", "patients")
_COLUMNS = {"code", "snomed", "concept", "events"}
"""The columns of artifacts of all versions; older ones have no `patients`."""


@dataclass(frozen=True)
class Mapping:
    """Every distinct code of the extracts, with its concept or null. Columns: `mapping.COLUMNS`, events, patients."""

    table: pl.DataFrame

    @classmethod
    def read(cls, folder: Path, *columns: str) -> "Mapping":
        """Read the table of a `mapped_events` artifact. Raises Damaged if it is not valid.

        Reads only `columns`, if given, without optional ones that the artifact lacks: all columns of 200,000 codes take 100 MB.
        """
        try:
            wanted = selectors.by_name(*columns, require_all=False) if columns else selectors.all()
            rows = pl.scan_csv(folder / FILE, infer_schema=False, glob=False).select(wanted)
            table = spreadsheet.plain_table(rows.collect())
            missing = (_COLUMNS & set(columns) if columns else _COLUMNS) - set(table.columns)
            table = table.with_columns(pl.col(name).cast(pl.Int64) for name in _COUNTS if name in table.columns)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise Damaged(_damaged(folder, "it cannot be read")) from error
        if missing:
            raise Damaged(_damaged(folder, f"it has no column {', '.join(sorted(missing))}"))
        return cls(table)

    def write(self, folder: Path) -> None:
        """Write the table to `folder`; `read` reads it."""
        spreadsheet.table(self.table).write_csv(folder / FILE)

    @property
    def counts_patients(self) -> bool:
        """Whether the table has the number of patients with each code."""
        return "patients" in self.table.columns

    @cached_property
    def mapped(self) -> pl.DataFrame:
        """The codes with a concept."""
        return self.table.filter(pl.col("concept").is_not_null())

    def concept_of_code(self) -> dict[str, str]:
        """Return the concept of each mapped SNOMED code of the extracts. (For concept lists, see `resolve_lists`.)"""
        return dict(self.mapped.select("snomed", "concept").iter_rows())


def _damaged(folder: Path, problem: str) -> str:
    return f"{folder / FILE}: {problem}. Rebuild mapped_events, or copy its whole folder again from where it was built."
