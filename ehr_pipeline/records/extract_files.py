"""The files of one extract, listed once: they are hashed, sized, read, and named in the quarantine, from this one list."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import files, unread
from ehr_pipeline.records.kinds import Kind, Kinds
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.records.unread import MOST_WRITTEN, NONE, Unread
from ehr_pipeline.store.file_listing import Tree, refuse_links, refuse_special, walk
from ehr_pipeline.store.watched_inputs import Watched

Key = tuple[str, str]
"""What determines the files of a kind: the section of the settings, and its patterns of file names."""


@dataclass(frozen=True)
class Listing:
    """The files of one extract, as `list_extract` found them. Both the fingerprint and the reader use this one listing.

    After `list_extract`, no code may look for files in the folder. The rules for which files are read (hidden files,
    links) belong in `tree_of` and `files.find`, which `list_extract` calls; they are applied again, with the same
    settings, when the reading is done. Any other fact about the folder (such as files that no kind reads) becomes a
    field here, filled by `list_extract`. Only `watched` is part of the fingerprint, so a new field makes no extract
    stale.
    """

    folder: Path
    kinds: Kinds
    found: Mapping[Key, tuple[Path, ...]]
    """The files of each kind, sorted; empty for a kind that is not required and has none."""
    watched: Watched
    """All files that are read, sorted, with their states."""
    may_lack: bool = False
    """Whether it may hold only events, or only patients, because there are other extracts that it adds to."""
    unread: Unread = NONE
    """The files that no kind reads."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Links that lead outside the landing folder: their names relative to the landing folder, and their targets."""

    def of(self, kind: Kind) -> tuple[Path, ...]:
        """Return the files of a kind."""
        return self.found[_key(kind)]

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
        """Number of bytes to read: a file counts once for each kind that reads it."""
        return sum(self.watched.states[path][0] for kind in self.kinds for path in self.of(kind))

    @property
    def state(self) -> str:
        """The state of all files, for the fingerprint."""
        return self.watched.hash(self.folder)


def list_extract(
    folder: Path, settings: RecordsSettings, *, may_lack: bool = False, others: Iterable[Path] = ()
) -> Listing:
    """List the files of an extract that the settings name. `others` are files that later stages read, so they do not
    count as unread.

    Raises InputError if a required kind has no file, or if a kind has none while an unread file is named like a file of
    that kind. With `may_lack`, the extract may hold only events, or only patients.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such extract. It should be a folder inside records.landing.")
    kinds, tree = settings.kinds, tree_of(folder, settings)
    found = _find(tree, kinds, may_lack)
    without_events = not any(found[_key(kind)] for kind in kinds.events)
    if without_events and not (may_lack and any(found[_key(kind)] for kind in kinds.patients)):
        raise InputError(f"{folder}: no file of events. Looked for: {', '.join(k.files.files for k in kinds.events)}.")
    left = unread.look(tree, _all(found), others)
    problems = unread.misnamed(folder, (kind for kind in kinds if not found[_key(kind)]), left)
    if problem := next(problems, ""):
        raise InputError(problem)
    watched = Watched.of(_all(found), lambda: _all(_find(tree_of(folder, settings), kinds, may_lack)))
    links = dict(islice(tree.outside(folder.parent).items(), MOST_WRITTEN))
    return Listing(folder, kinds, found, watched, may_lack, left, links)


def tree_of(folder: Path, settings: RecordsSettings) -> Tree:
    """Return all files of an extract, also through links.

    Raises InputError if there are links and the settings forbid them, and for named pipes and devices.
    """
    tree = walk(folder, follow=settings.follow_links)
    refuse_special(tree)
    if not settings.follow_links:
        refuse_links(tree, "records.follow_links")
    return tree


def _find(tree: Tree, kinds: Kinds, may_lack: bool) -> dict[Key, tuple[Path, ...]]:
    lacking = set(absent(tree, kinds)) if may_lack else set()
    found: dict[Key, tuple[Path, ...]] = {}
    for kind in kinds:
        if _key(kind) not in found:
            found[_key(kind)] = () if kind.where in lacking else tuple(files.find(tree, kind))
    return found


def absent(tree: Tree, kinds: Kinds) -> list[str]:
    """Return the sections of the settings for which an extract has no files, although it has files of the other sort (of patients
    or of events).

    If an extract has files of patients but none of events, these are the sections for events; in the reverse case,
    those for patients; otherwise none.
    """
    there = [
        any(files.find(tree, replace(kind, required=False)) for kind in group)
        for group in (kinds.events, kinds.patients)
    ]
    if all(there) or not any(there):
        return []
    return [kind.where for kind in (kinds.patients if there[0] else kinds.events)]


def _all(found: Mapping[Key, tuple[Path, ...]]) -> list[Path]:
    return sorted({path for paths in found.values() for path in paths})


def _key(kind: Kind) -> Key:
    return kind.where, kind.files.files
