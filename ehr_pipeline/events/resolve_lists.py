"""Resolve concept lists: each code of a list gets the concept that the mapping ladder gives it, whether or not an extract holds the
code.

So a list finds the same patients whether a current code, a retired code, or a description id was recorded. To do this, the ladder's
files are read again. They must be the files with which the events were mapped, so every artifact made from a list has the ladder as
an input.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from ehr_pipeline.errors import InputError
from ehr_pipeline.events import build
from ehr_pipeline.events.mapping import map_by_files
from ehr_pipeline.events.settings import EventsSettings
from ehr_pipeline.events.translate import translated_systems
from ehr_pipeline.store.artifacts import Artifact, hash_of
from ehr_pipeline.store.watched_inputs import Watched
from ehr_pipeline.terminology import code_lists
from ehr_pipeline.terminology.code_lists import ListedConcept
from ehr_pipeline.terminology.spelling import spelled
from ehr_pipeline.typed_settings import identity


@dataclass(frozen=True)
class Ladder:
    """Everything that determines which concept a code gets: the settings of the mapping, and the files that they name."""

    settings: EventsSettings
    mapped: Artifact
    """The current `mapped_events`."""

    def inputs(self) -> dict[str, str]:
        """Return the ladder with which the events were mapped, as an input of artifacts made from a list. Reads no file."""
        return {"ladder": hash_of([self.mapped.manifest["version"], *self._used()])}

    def _used(self) -> tuple[Any, dict[str, str]]:
        """Return the settings and the file states with which the events were mapped."""
        files = {name: state for name, state in self.mapped.manifest["inputs"].items() if name.startswith(build.FILE)}
        return self.mapped.manifest["settings"], files

    def resolve(self, lists: Mapping[str, str]) -> "dict[str, Rows]":
        """Resolve lists (files by setting). Raises InputError if the ladder has changed since the events were mapped."""
        if not lists:
            return {}
        files = Watched.of(build.inputs(self.settings))
        if (identity(self.settings), build.states(files)) != self._used():
            raise InputError(
                "The settings or the files under [events] are not those with which the events were mapped, so that concept lists"
                " would be read in another way. Make mapped_events again."
            )
        rows = resolve({where: Path(path) for where, path in lists.items()}, self.settings)
        if changed := files.changed():
            raise InputError(changed)
        return rows


@dataclass(frozen=True)
class Resolved:
    """A row of a concept list, with the concept that the ladder gave its code; empty if it gave none."""

    row: ListedConcept
    mapped: str

    @property
    def concepts(self) -> frozenset[str]:
        """Return the concepts that the row stands for: its CUI, and the concept of its code."""
        return frozenset({spelled(self.row.cui), self.mapped} - {""})


Rows = tuple[Resolved, ...]


def resolve(lists: Mapping[str, Path], settings: EventsSettings) -> dict[str, Rows]:
    """Resolve lists (files by the settings that name them). Raises InputError for a list or table that cannot be used."""
    read = {where: code_lists.read(path, where) for where, path in lists.items()}
    codes = sorted({row.code for rows in read.values() for row in rows} - {""})
    mapped: dict[str, str] = {}
    if codes:
        mapped = dict(map_by_files(pl.Series(codes), settings).select("code", "concept").drop_nulls().iter_rows())
    return {where: tuple(Resolved(row, mapped.get(row.code, "")) for row in rows) for where, rows in read.items()}


def concepts(rows: Iterable[Resolved]) -> frozenset[str]:
    """Return all concepts that a list stands for."""
    return frozenset[str]().union(*(row.concepts for row in rows))


def facts(rows: Rows) -> dict[str, int]:
    """Return the numbers of rows of a list, of the concepts they stand for, and of rows that stand for no concept."""
    return {
        "codes": len(rows),
        "concepts": len(concepts(rows)),
        "rows_without_concept": sum(not row.concepts for row in rows),
    }


def problems(rows: Iterable[ListedConcept], settings: EventsSettings, systems: Sequence[str] = ()) -> list[str]:
    """Return which rows of a list can match nothing under these settings, whatever the files hold: one text per reason.

    `systems` are the code systems of the event files, as far as they are known.
    """
    rows = [row for row in rows if row.code and not row.cui]
    overrides = code_lists.read_overrides(Path(settings.overrides)) if settings.overrides else []
    overridden = {spelled(row.code) for row in overrides}
    rows = [row for row in rows if spelled(row.code) not in overridden]
    found = []
    if not settings.migrations and (read := [row for row in rows if code_lists.is_read(row.code)]):
        own = next((name for name in systems if name != "snomed"), "")
        found.append(
            f"{_lines(read)}: codes of the form of Read codes, but [events.migrations] names no table that translates them."
            f" Name one, or write a code of another system as {f'{own}:{read[0].code}' if own else 'system:code'}"
        )
    foreign = [row for row in rows if code_lists.OF_A_SYSTEM.fullmatch(row.code)]
    unknown = [row for row in foreign if row.code.split(":")[0] not in translated_systems(settings)]
    if settings.unmapped == "drop" and unknown:
        found.append(
            f"{_lines(unknown)}: codes of systems for which [events.dictionaries] has no table. They are concepts of their own"
            ' only with events.unmapped = "keep"'
        )
    return found


def _lines(rows: list[ListedConcept]) -> str:
    """Return the line numbers of rows, as words for a message."""
    lines = [str(row.line) for row in rows]
    more = f" and {len(lines) - code_lists.SHOWN} more" if len(lines) > code_lists.SHOWN else ""
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(lines[: code_lists.SHOWN])}{more}"
