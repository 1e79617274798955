"""The kinds of files of an extract, and how the rows of each become events or patients."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import polars as pl

from ehr_pipeline.records import values
from ehr_pipeline.records.layouts import DelimitedText, EventFiles, LinkedFiles, PatientFiles

Adapter = Callable[[pl.DataFrame], tuple[pl.DataFrame, pl.DataFrame]]
"""Turns rows of a file (line, wanted columns) into rows of events (line, patient, date, code) or of patients, and rejected rows
(line, reason). Rows in neither result belong to another kind that reads the same file."""
Messages = tuple[tuple[str, ...], tuple[str, ...]]
"""Messages about rows of a file: those that require action, and others."""


@dataclass(frozen=True, kw_only=True)
class Kind(ABC):
    """One kind of file of an extract."""

    files: DelimitedText
    """How the files are written."""
    where: str
    """The section of the settings for this kind, for messages."""
    required: bool = True
    """Whether an extract must have such files."""
    any_case: bool = False
    """Whether case is ignored in names of files and columns."""
    no_value: tuple[str, ...] = ()
    """Words that mean 'no value' in every column."""
    optional: frozenset[str] = frozenset()
    """Columns, by our names, that a file may lack if `any_case` is set; the adapter of the rows works without them."""

    @property
    @abstractmethod
    def wanted(self) -> dict[str, str]:
        """The columns to read: our name of each, and its name in the file."""


@dataclass(frozen=True, kw_only=True)
class AdaptedKind(Kind):
    """A kind of file whose rows may need conversion into events or patients."""

    adapt: Adapter | None = None
    describe: Callable[[pl.DataFrame, int], Messages] | None = None
    """Returns messages about the first rows of a file, before `adapt`; values of fewer patients than the number are not shown."""

    def adapted(self, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Return rows of events or patients, and rejected rows (line, reason)."""
        if self.adapt is None:
            return rows, pl.DataFrame(schema={"line": pl.Int64, "reason": pl.String})
        rows, rejected = self.adapt(rows)
        return values.without_words(rows, self.no_value), rejected


@dataclass(frozen=True, kw_only=True)
class EventKind(AdaptedKind):
    """A kind of event file."""

    files: EventFiles

    @property
    def wanted(self) -> dict[str, str]:
        """The columns to read: their names here, each with the name in the file."""
        columns = {role: name for role, name in vars(self.files.columns).items() if name and isinstance(name, str)}
        return columns | {f"code:{number}": name for number, name in enumerate(self.files.columns.further_codes)}


@dataclass(frozen=True, kw_only=True)
class PatientKind(AdaptedKind):
    """A kind of patient file."""

    files: PatientFiles
    partial: bool = False
    """Whether a row without a birth adds to the patient's other rows, instead of being rejected."""
    linked_where: str = ""
    """The setting for the joined table, if it is not in the section of these files."""
    births: str = ""
    """For a message, if only some rows of a file give births: the setting that selects these rows."""
    columns: Mapping[str, str] | None = None
    """The columns to read, if they differ from `files.columns` because rows are adapted."""

    @property
    def wanted(self) -> dict[str, str]:
        """The columns to read: their names here, each with the name in the file."""
        if self.columns is not None:
            return dict(self.columns)
        columns_ = self.files.columns
        single = {role: name for role, name in vars(columns_).items() if name and isinstance(name, str)}
        ends = {f"observation_ends:{number}": name for number, name in enumerate(columns_.observation_ends)}
        keys = {f"linked:{number}": table.patient_key for number, table in enumerate(self.files.linked)}
        return single | ends | keys | {f"attribute:{name}": column for name, column in self.files.attributes.items()}

    @property
    def linked(self) -> "tuple[LinkedKind, ...]":
        """The tables that are joined to the patients of these files."""
        return tuple(
            LinkedKind(
                where=self.linked_where or f"{self.where}.linked[{number}]",
                files=table,
                required=False,
                any_case=self.any_case,
                no_value=self.no_value,
            )
            for number, table in enumerate(self.files.linked)
        )


@dataclass(frozen=True, kw_only=True)
class LinkedKind(Kind):
    """A table that is joined to patients."""

    files: LinkedFiles

    @property
    def wanted(self) -> dict[str, str]:
        """The columns to read: their names here, each with the name in the file."""
        ends = {f"observation_ends:{number}": name for number, name in enumerate(self.files.observation_ends)}
        return (
            {"key": self.files.key}
            | ends
            | {f"attribute:{name}": column for name, column in self.files.attributes.items()}
        )


@dataclass(frozen=True)
class Kinds:
    """All kinds of files of an extract."""

    events: tuple[EventKind, ...]
    patients: tuple[PatientKind, ...]

    def __iter__(self) -> Iterator[Kind]:
        """Iterate over every kind: patients and the tables joined to them, then events."""
        for patients in self.patients:
            yield patients
            yield from patients.linked
        yield from self.events

    @property
    def attributes(self) -> tuple[str, ...]:
        """Sorted names of the columns that patients have besides id, birth and sex."""
        return tuple(sorted({name for kind in self.patients for name in kind.files.columns_kept}))
