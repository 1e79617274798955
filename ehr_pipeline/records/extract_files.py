"""The files of an extract, listed once: hashing, sizing, reading and the quarantine all use this list."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import files, unread
from ehr_pipeline.records.kinds import Kind, Kinds
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.records.unread import MAX_WRITTEN, NONE, UnreadFiles
from ehr_pipeline.store.file_listing import Tree, refuse_links, refuse_special, walk
from ehr_pipeline.store.watched_inputs import Watched

Key = tuple[str, str]
"""What determines the files of a kind: the section of the settings, and its patterns for file names."""


@dataclass(frozen=True)
class Listing:
    """The files of one extract, from `list_extract`. Both the fingerprint and the reader use this listing.

    After `list_extract`, no code may look for files in the folder. The rules for which files are read (hidden files, links) belong
    in `tree_of` and `files.find`, which `list_extract` calls; they are applied again, with the same settings, after reading. Any
    other fact about the folder (such as files that are not read) is a field here, filled by `list_extract`. Only `watched` is part
    of the fingerprint, so a new field does not make extracts stale.
    """

    folder: Path
    kinds: Kinds
    by_kind: Mapping[Key, tuple[Path, ...]]
    """The files of each kind, sorted; may be empty if the kind is not required."""
    watched: Watched
    """All files that are read, sorted, with their states."""
    may_lack: bool = False
    """Whether it may contain only events, or only patients, because it adds to other extracts."""
    unread: UnreadFiles = NONE
    """The files that are not read."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Links that lead outside the landing folder: their names relative to the landing folder, and their targets."""

    def files_of(self, kind: Kind) -> tuple[Path, ...]:
        """Return the files of a kind."""
        return self.by_kind[_key(kind)]

    def name(self, path: Path) -> str:
        """Return a file's name, relative to the folder."""
        return path.relative_to(self.folder).as_posix()

    @property
    def files(self) -> list[Path]:
        """All files, sorted, each once."""
        return list(self.watched.files)

    @property
    def names(self) -> list[str]:
        """Names of all files, relative to the folder."""
        return [self.name(path) for path in self.files]

    @property
    def bytes_to_read(self) -> int:
        """Number of bytes to read: a file is counted once per kind that reads it."""
        return sum(self.watched.states[path][0] for kind in self.kinds for path in self.files_of(kind))

    @property
    def state(self) -> str:
        """The state of all files, for the fingerprint."""
        return self.watched.hash(self.folder)


def list_extract(
    folder: Path, settings: RecordsSettings, *, may_lack: bool = False, others: Iterable[Path] = ()
) -> Listing:
    """List the files of an extract. `others` are files that later stages read, which are not reported as unread.

    Raises InputError if a required kind has no file, or if a kind has none although an unread file has a similar name. With
    `may_lack`, the extract may contain only events, or only patients.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such extract. It must be a folder inside records.landing.")
    kinds, tree = settings.kinds, tree_of(folder, settings)
    by_kind = _find(tree, kinds, may_lack)
    without_events = not any(by_kind[_key(kind)] for kind in kinds.events)
    if without_events and not (may_lack and any(by_kind[_key(kind)] for kind in kinds.patients)):
        raise InputError(f"{folder}: no file of events. Looked for: {', '.join(k.files.files for k in kinds.events)}.")
    unread_files = unread.find_unread(tree, _all(by_kind), others)
    problems = unread.misnamed(folder, (kind for kind in kinds if not by_kind[_key(kind)]), unread_files)
    if problem := next(problems, ""):
        raise InputError(problem)
    watched = Watched.of(_all(by_kind), lambda: _all(_find(tree_of(folder, settings), kinds, may_lack)))
    links = dict(islice(tree.outside(folder.parent).items(), MAX_WRITTEN))
    return Listing(folder, kinds, by_kind, watched, may_lack, unread_files, links)


def tree_of(folder: Path, settings: RecordsSettings) -> Tree:
    """Return all files of an extract, also through links.

    Raises InputError for links if the settings forbid them, and for named pipes and devices.
    """
    tree = walk(folder, follow=settings.follow_links)
    refuse_special(tree)
    if not settings.follow_links:
        refuse_links(tree, "records.follow_links")
    return tree


def _find(tree: Tree, kinds: Kinds, may_lack: bool) -> dict[Key, tuple[Path, ...]]:
    lacking = set(absent(tree, kinds)) if may_lack else set()
    by_kind: dict[Key, tuple[Path, ...]] = {}
    for kind in kinds:
        if _key(kind) not in by_kind:
            by_kind[_key(kind)] = () if kind.where in lacking else tuple(files.find(tree, kind))
    return by_kind


def absent(tree: Tree, kinds: Kinds) -> list[str]:
    """Return the sections for events if an extract has only patient files, those for patients if it has only event files."""
    there = [
        any(files.find(tree, replace(kind, required=False)) for kind in group)
        for group in (kinds.events, kinds.patients)
    ]
    if all(there) or not any(there):
        return []
    return [kind.where for kind in (kinds.patients if there[0] else kinds.events)]


def _all(by_kind: Mapping[Key, tuple[Path, ...]]) -> list[Path]:
    return sorted({path for paths in by_kind.values() for path in paths})


def _key(kind: Kind) -> Key:
    return kind.where, kind.files.files
