"""Notes that an extract passed its checks, so unchanged extracts are not checked again for each catalog.

    <store>/records/raw_records/<extract>/passed     the state in which the extract passed

The state is a hash of the files that the checks read (names, sizes, times of change, inodes) and the settings they use.
If a note is missing, is damaged, or names another state, the checks run again.
"""

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

from ehr_pipeline import __version__
from ehr_pipeline.assets import ASSETS
from ehr_pipeline.store.artifacts import MANIFEST, Artifact, hash_of
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import RAW_RECORDS

NOTE = "passed"
CHECKED = ("events", "patients")
"""Folders in an extract's records whose files are opened by the checks."""


class PassedNotes:
    """The notes on a study's extracts, for its current settings. Lists that the settings name are read once, here."""

    def __init__(self, study: Study):
        settings = ASSETS[RAW_RECORDS].deciding_settings(study)
        self._terms = hash_of(
            [
                __version__,
                ASSETS[RAW_RECORDS].version,
                settings,
                dataclasses.asdict(study.records.limits),
                study.records.mode,
            ]
        )

    def state(self, artifact: Artifact) -> str:
        """Return the state of an extract's records. Take it before the checks run."""
        return hash_of([self._terms, artifact.manifest["fingerprint"], *_files(artifact.path)])

    def passed(self, artifact: Artifact) -> bool:
        """Return whether the records passed their checks in their present state."""
        try:
            return _note(artifact).read_text(encoding="ascii") == self.state(artifact)
        except (OSError, ValueError):
            return False

    def note(self, artifact: Artifact, state: str) -> None:
        """Note that the records passed. Does nothing if the store cannot be written to."""
        with contextlib.suppress(OSError):
            _note(artifact).write_text(state, encoding="ascii")


def _note(artifact: Artifact) -> Path:
    return artifact.path.parent / NOTE


def _files(path: Path) -> Iterator[list[str]]:
    """Yield, for each file, values that change whenever it is written, replaced or removed, such as ctime, which cannot be set
    back."""
    for folder in CHECKED:
        try:
            with os.scandir(path / folder) as entries:
                yield sorted(_state(entry.name, entry.stat()) for entry in entries)
        except OSError as problem:  # the checks report it
            yield [str(problem)]
    yield [_state(MANIFEST, (path / MANIFEST).stat())]


def _state(name: str, stat: os.stat_result) -> str:
    return f"{name} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"
