"""The files of one extract, listed once: what is hashed, sized, read and named in the quarantine is this one list."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import files, unread
from ehr_pipeline.records.kinds import Kind, Kinds
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.records.unread import MOST_WRITTEN, NONE, Unread
from ehr_pipeline.store.walk import Tree, refuse_links, refuse_special, walk
from ehr_pipeline.store.watched_inputs import Watched

Key = tuple[str, str]
"""What decides which files a kind has: the section of the settings, and its patterns of names."""


@dataclass(frozen=True)
class Listing:
    """One extract as it was when it was listed. Made once by `list_extract`, and handed on from the fingerprint to the reader.

    Nothing after `list_extract` may look into the folder for files. What decides which files are read (hidden files, links) belongs
    into `tree_of` and `files.find`, which `list_extract` calls, and is asked again with the same settings when the reading is done.
    What else should be known of the folder (such as files that no kind reads) becomes a field here, filled by `list_extract`.
    `watched` alone enters the fingerprint, so a further field makes no extract stale.
    """

    folder: Path
    kinds: Kinds
    found: Mapping[Key, tuple[Path, ...]]
    """The files of each kind, sorted; none of a kind that need not be there."""
    watched: Watched
    """All files that are read, sorted, with their states."""
    may_lack: bool = False
    """Whether it may hold events only, or patients only, since there are other extracts that it adds to."""
    unread: Unread = NONE
    """The files that no kind reads."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Links that lead outside the landing folder: where each leads, by its name relative to the landing folder."""

    def of(self, kind: Kind) -> tuple[Path, ...]:
        """The files of a kind."""
        return self.found[_key(kind)]

    def name(self, path: Path) -> str:
        """A file's name, relative to the folder."""
        return path.relative_to(self.folder).as_posix()

    @property
    def files(self) -> list[Path]:
        """All files, sorted, each once."""
        return list(self.watched.files)

    @property
    def names(self) -> list[str]:
        """Their names, relative to the folder."""
        return [self.name(path) for path in self.files]

    @property
    def bytes_to_read(self) -> int:
        """Bytes that are read: a file counts once for each kind that reads it."""
        return sum(self.watched.states[path][0] for kind in self.kinds for path in self.of(kind))

    @property
    def state(self) -> str:
        """The state of all files, for the fingerprint."""
        return self.watched.hash(self.folder)


def list_extract(folder: Path, settings: RecordsSettings, *, may_lack: bool = False) -> Listing:
    """List the files of an extract that the settings name.

    Raises InputError when a kind has none that needs some, or none while a file that is not read bears its name.
    An extract that `may_lack` may hold events only, or patients only.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such extract. It should be a folder inside records.landing.")
    kinds, tree = settings.kinds, tree_of(folder, settings)
    found = _find(tree, kinds, may_lack)
    without_events = not any(found[_key(kind)] for kind in kinds.events)
    if without_events and not (may_lack and any(found[_key(kind)] for kind in kinds.patients)):
        raise InputError(f"{folder}: no file of events. Looked for: {', '.join(k.files.files for k in kinds.events)}.")
    others = unread.look(tree, _all(found))
    problems = unread.misnamed(folder, (kind for kind in kinds if not found[_key(kind)]), others)
    if problem := next(problems, ""):
        raise InputError(problem)
    watched = Watched.of(_all(found), lambda: _all(_find(tree_of(folder, settings), kinds, may_lack)))
    links = dict(islice(tree.outside(folder.parent).items(), MOST_WRITTEN))
    return Listing(folder, kinds, found, watched, may_lack, others, links)


def tree_of(folder: Path, settings: RecordsSettings) -> Tree:
    """All files of an extract, links followed.

    Raises InputError where the settings forbid links and there are some, and for named pipes and devices.
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
    """The sections of the settings that describe events, or patients, where none of their kinds has a file; not both."""
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
