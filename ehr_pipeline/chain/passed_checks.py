"""Which extracts passed their checks, as long as nothing changed: the shards of thousands are not opened again for each catalog.

    <store>/records/raw_records/<extract>/passed     the state in which the extract passed

The state is of the files that the checks read (names, sizes, times of change, inodes), and of the settings that they ask. A note
that is missing, torn or of another state only costs the checks themselves.
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
"""Folders of an extract's records whose files its checks open."""


class Passed:
    """What was noted of the extracts of a study, with its settings of now. Lists that they name are read once, here."""

    def __init__(self, study: Study):
        own = ASSETS[RAW_RECORDS].own_settings(study)
        self._terms = hash_of(
            [
                __version__,
                ASSETS[RAW_RECORDS].version,
                own,
                dataclasses.asdict(study.records.limits),
                study.records.mode,
            ]
        )

    def state(self, artifact: Artifact) -> str:
        """The state of an extract's records, to be taken before they are checked."""
        return hash_of([self._terms, artifact.manifest["fingerprint"], *_files(artifact.path)])

    def holds(self, artifact: Artifact) -> bool:
        """Whether the records passed their checks as they are now."""
        try:
            return _note(artifact).read_text(encoding="ascii") == self.state(artifact)
        except (OSError, ValueError):
            return False

    def note(self, artifact: Artifact, state: str) -> None:
        """Note that they did. A store that cannot be written to now has no note."""
        with contextlib.suppress(OSError):
            _note(artifact).write_text(state, encoding="ascii")


def _note(artifact: Artifact) -> Path:
    return artifact.path.parent / NOTE


def _files(path: Path) -> Iterator[list[str]]:
    """What changes whenever a file is written, replaced or taken away. The time of an inode's change nobody sets back."""
    for folder in CHECKED:
        try:
            with os.scandir(path / folder) as entries:
                yield sorted(_state(entry.name, entry.stat()) for entry in entries)
        except OSError as problem:  # which the checks tell
            yield [str(problem)]
    yield [_state(MANIFEST, (path / MANIFEST).stat())]


def _state(name: str, found: os.stat_result) -> str:
    return f"{name} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
