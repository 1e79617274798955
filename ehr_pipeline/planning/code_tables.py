"""Find tables that give the meaning of the codes of events: in the event file itself, or in a separate file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from ehr_pipeline.events import names
from ehr_pipeline.planning import guess_codes, guess_format
from ehr_pipeline.planning.guess_format import Sniffed, plain
from ehr_pipeline.planning.settings_text import inline, quoted
from ehr_pipeline.planning.text_head import ALMOST

LARGEST_WITH_NAMES = 500_000_000
"""Bytes of a file of events from which names of codes are taken."""
NAME = (
    *names.NAMES,
    "desc",
    "rubric",
    "title",
    "meaning",
    "bezeichnung",
    "klartext",
    "libelle",
    "intitule",
    "nombre",
    "descripcion",
)
"""Words in the name of a column of names."""
SNOMED = ("snomed", "sct")
COVERED = 0.5
"""Smallest share of the codes of events that a table of codes must contain."""


@dataclass(frozen=True)
class Meanings:
    """What was found for the codes of one file of events."""

    path: Path
    code: str
    name: str
    snomed: str = ""
    """The column of SNOMED codes, if the table translates the codes."""
    delimiter: str = ""
    encoding: str = ""
    quote: str = ""

    def as_names(self, system: str) -> str:
        """Return the table of names, as an entry of `events.names`."""
        usual = plain(self.code) == names.CODE and plain(self.name) in names.NAMES
        columns = {} if usual else {"code_column": self.code, "name_column": self.name}
        own = {"code_system": system} if system else {}
        return inline({"file": str(self.path.resolve()), **columns, **own})

    def as_dictionary(self, system: str) -> list[str]:
        """Return the section of the table, if it translates codes to SNOMED."""
        lines = ["", f"[events.dictionaries.{system}]", f"file = {quoted(str(self.path.resolve()))}"]
        lines += [f"code_column = {quoted(self.code)}", f"snomed_column = {quoted(self.snomed)}"]
        lines += [f"name_column = {quoted(self.name)}"] if self.name else []
        lines += [f"delimiter = {quoted(self.delimiter)}", f"encoding = {quoted(self.encoding)}"]
        return [*lines, f"quote = {quoted(self.quote)}"]


def find(one: Sniffed, system: str, others: Sequence[Sniffed]) -> Iterator[Meanings]:
    """Yield the tables with meanings of the codes in a file of events: other files or, if there are none, the file itself."""
    found = False
    codes = _spelled(one.values(one.column("code")))
    for table in others:
        for column in table.table.columns:
            held = _spelled(table.values(column))
            if not len(held) or held.n_unique() < ALMOST * len(held) or not _covers(held, codes):
                continue
            name = _name(table, column)
            snomed = _snomed(table, column) if system != "snomed" and table.delimiter else ""
            if name or snomed:
                found = True
                yield Meanings(table.path, column, name, snomed, table.delimiter, table.encoding, table.quote)
                break
    if not found and one.path.stat().st_size <= LARGEST_WITH_NAMES and (name := name_beside(one)):
        yield Meanings(one.path, one.column("code"), name)


def _spelled(codes: pl.Series) -> pl.Series:
    return codes.str.to_uppercase()


def _covers(held: pl.Series, codes: pl.Series) -> bool:
    distinct = codes.unique()
    return len(distinct) > 1 and int(distinct.is_in(held.implode()).sum()) >= COVERED * len(distinct)


def _name(table: Sniffed, code: str) -> str:
    """Return the column of names in a table of codes: by its name, or the only other column."""
    others = [name for name in table.table.columns if name != code and _is_text(table.values(name))]
    called = [name for name in others if any(word in plain(name) for word in NAME)]
    return called[0] if called else others[0] if len(table.table.columns) == 2 and others else ""


def _snomed(table: Sniffed, code: str) -> str:
    found = [
        name
        for name in table.table.columns
        if name != code
        and any(word in plain(name) for word in SNOMED)
        and len(table.values(name))
        and guess_codes.code_system(table.values(name)) == "snomed"
    ]
    concepts = [name for name in found if "concept" in plain(name)]
    return (concepts or found or [""])[0]


def name_beside(one: Sniffed) -> str:
    """Return a column of a file of events in which nearly every code has a single name; empty if there is none."""
    code = one.column("code")
    for column in one.table.columns:
        if column in one.roles.values() or column == code or not any(word in plain(column) for word in NAME):
            continue
        pairs = one.table.select(code=code, name=column).filter(pl.col("name") != "")
        each = pairs.group_by("code").agg(pl.col("name").n_unique())
        single = int((each["name"] == 1).sum()) >= ALMOST * each.height
        if each.height > 1 and single and pairs["name"].n_unique() >= ALMOST * each.height and _is_text(pairs["name"]):
            return column
    return ""


def _is_text(values: pl.Series) -> bool:
    """Return whether values are words: neither numbers nor all the same."""
    return values.n_unique() > 1 and guess_format.share(values, r"[^\W\d_]{2}") >= ALMOST
