"""Find the complete extracts in the landing folder by names, sizes and times alone: no file is opened."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline.records.catalog import extracts_in
from ehr_pipeline.records.operation_settings import OperationSettings
from ehr_pipeline.store.artifacts import hash_of, partition_problem
from ehr_pipeline.store.file_listing import walk


@dataclass(frozen=True)
class ExtractFolder:
    """One folder in the landing folder."""

    extract: str
    state: str
    """Hash of the names, sizes and times of all files except the marker; it changes when the extract is corrected."""
    waits_for: str
    """Why the extract is not complete, in words; empty if it is."""


def check_folders(landing: Path, settings: OperationSettings, now: float) -> list[ExtractFolder]:
    """Check every extract in the landing folder at the time `now` (seconds since 1970), oldest name first."""
    return [_check_folder(landing / extract, settings, now) for extract in extracts_in(landing)]


def _check_folder(folder: Path, settings: OperationSettings, now: float) -> ExtractFolder:
    if problem := partition_problem(folder.name):
        return ExtractFolder(folder.name, "", f"it must be renamed first, since {problem}")
    entries = sorted(_files(folder))
    latest = max((changed for _, _, changed in entries), default=0) / 1e9
    waits_for = ""
    if not any(name != settings.marker for name, _, _ in entries):
        waits_for = "it holds no file"
    elif settings.complete == "marker":
        if not any(name == settings.marker for name, _, _ in entries):
            waits_for = f"the file {settings.marker} is not there"
    elif abs(now - latest) < settings.quiet_minutes * 60:  # a file time in the future does not block for ever
        waits_for = f"a file changed less than {settings.quiet_minutes:g} minutes ago"
    return ExtractFolder(folder.name, hash_of([entry for entry in entries if entry[0] != settings.marker]), waits_for)


def _files(folder: Path) -> Iterator[tuple[str, int, int]]:
    """Yield relative name, size in bytes and time of change (ns) of all files, in subfolders too, unless they vanish."""
    for path in walk(folder, hidden=True).files:
        with contextlib.suppress(FileNotFoundError):
            state = path.stat()
            yield path.relative_to(folder).as_posix(), state.st_size, state.st_mtime_ns
