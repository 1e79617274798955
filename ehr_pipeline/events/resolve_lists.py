"""Resolve concept lists: map each code of a list by the steps of the mapping, whether or not the code occurs in an extract.

So a list finds the same patients whether a current code, a retired code, or a description id was recorded. The files of the mapping
are read again for this. They must be those with which the events were mapped, so the ladder is an input of every artifact made from
a list.
"""

from collections import defaultdict
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
from ehr_pipeline.terminology.spelling import normalise_code
from ehr_pipeline.typed_settings import identity


@dataclass(frozen=True)
class Ladder:
    """What determines the concept of a code: the settings of the mapping, and its files."""

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
                "The settings or files of [events] have changed since the events were mapped, so lists would match other events."
                " Rebuild mapped_events (ehr-pipeline run --select mapped_events)."
            )
        rows = resolve({where: Path(path) for where, path in lists.items()}, self.settings)
        if changed := files.changed():
            raise InputError(changed)
        return rows


@dataclass(frozen=True)
class ResolvedRow:
    """A row of a concept list, with the concepts of its code: none, one, or the ingredients of a drug."""

    row: ListedConcept
    mapped: tuple[str, ...]

    @property
    def concepts(self) -> frozenset[str]:
        """The concepts of the row: its CUI, and those of its code."""
        return frozenset({normalise_code(self.row.cui), *self.mapped} - {""})


Rows = tuple[ResolvedRow, ...]


def resolve(lists: Mapping[str, Path], settings: EventsSettings) -> dict[str, Rows]:
    """Resolve lists (files by setting). Raises InputError for an unusable list or table."""
    read = {where: code_lists.read(path, where) for where, path in lists.items()}
    codes = sorted({row.code for rows in read.values() for row in rows} - {""})
    mapped = defaultdict[str, list[str]](list)
    if codes:
        for code, concept in (
            map_by_files(pl.Series(codes), settings).select("code", "concept").drop_nulls().iter_rows()
        ):
            mapped[code].append(concept)
    return {
        where: tuple(ResolvedRow(row, tuple(mapped.get(row.code, ()))) for row in rows) for where, rows in read.items()
    }


def concepts(rows: Iterable[ResolvedRow]) -> frozenset[str]:
    """Return all concepts of a list."""
    return frozenset[str]().union(*(row.concepts for row in rows))


def facts(rows: Rows) -> dict[str, int]:
    """Count the rows of a list, their concepts, and the rows without a concept."""
    return {
        "codes": len(rows),
        "concepts": len(concepts(rows)),
        "rows_without_concept": sum(not row.concepts for row in rows),
    }


def problems(rows: Iterable[ListedConcept], settings: EventsSettings, systems: Sequence[str] = ()) -> list[str]:
    """Return why rows of a list cannot match under these settings, whatever the files contain: one message per reason.

    `systems` are the code systems of the event files, as far as they are known.
    """
    rows = [row for row in rows if row.code and not row.cui]
    overrides = code_lists.read_overrides(Path(settings.overrides)) if settings.overrides else []
    overridden = {normalise_code(row.code) for row in overrides}
    rows = [row for row in rows if normalise_code(row.code) not in overridden]
    messages = []
    if not settings.migrations and (read := [row for row in rows if code_lists.is_read(row.code)]):
        system = next((name for name in systems if name != "snomed"), "")
        other = f"{system}:{read[0].code}" if system else "system:code, as in ICD10CM:E11.9"
        messages.append(
            f"{_lines(read)}: a code without a system is read as a Read code, but [events.migrations] has no table that translates"
            f" these. Add one, or write a code of another system as {other}"
        )
    with_system = [row for row in rows if code_lists.WITH_SYSTEM.fullmatch(row.code)]
    unknown = [row for row in with_system if row.code.split(":")[0] not in translated_systems(settings)]
    if settings.unmapped == "drop" and unknown:
        messages.append(
            f"{_lines(unknown)}: codes of systems without a table in [events.dictionaries]. They are separate concepts only with"
            ' events.unmapped = "keep"'
        )
    return messages


def _lines(rows: list[ListedConcept]) -> str:
    """Return the line numbers of rows, as words for a message."""
    lines = [str(row.line) for row in rows]
    more = f" and {len(lines) - code_lists.MAX_LINES} more" if len(lines) > code_lists.MAX_LINES else ""
    return f"line{'s' if len(lines) > 1 else ''} {', '.join(lines[: code_lists.MAX_LINES])}{more}"
