"""List the files below a folder, following links. All input folders are listed by this module.

`Path.glob` and `os.walk` are not suitable: whether `**` enters a linked folder depends on the version of Python,
unreadable folders are skipped silently, and circular links are followed until the path is too long.
"""

import fnmatch
import os
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path, PurePosixPath

from ehr_pipeline.errors import InputError, printable
from ehr_pipeline.store import special_files

MOST_NAMED = 10
NOWHERE = "the link leads to a file or folder that does not exist, or that this user cannot see. Put it in place, or remove it."
MOST_LINKED = 100_000
"""How many folders may be entered through links."""


@dataclass(frozen=True)
class Link:
    """A symbolic link and its target."""

    path: Path
    target: Path
    """An absolute path, no part of which is a link."""
    leads: bool
    """Whether the target exists."""


@dataclass(frozen=True)
class Tree:
    """The files below a folder at the time of the walk."""

    folder: Path
    files: tuple[Path, ...]
    """Sorted. The path of a file below a linked folder goes through the link."""
    links: tuple[Link, ...] = ()
    """All links, sorted by path; the folder itself may be one."""
    elsewhere: dict[Path, Path] = field(default_factory=dict, repr=False)
    """The real path of each file that was reached through a link."""
    special: dict[Path, str] = field(default_factory=dict, repr=False)
    """Named pipes, sockets and devices, each with its kind (`special_files.special`)."""
    hidden: tuple[Path, ...] = ()
    """Files and folders left out because their names begin with a dot, sorted; without system files such as '._a'."""

    def matching(self, patterns: Sequence[str]) -> list[Path]:
        """Return the files that match one of the globs, sorted. `*` matches within a name, `**` any number of folders.

        A file with several names is listed once, under its real name if this matches. Raises InputError if a link in a
        place that a glob searches leads nowhere.
        """
        globs = [glob(pattern) for pattern in patterns]
        self.refuse_dangling(lambda name: any(each.leads_on(name) for each in globs))
        found = [path for path in self.files if any(each.matches(self._name(path)) for each in globs)]
        if not self.elsewhere:
            return found
        once: dict[Path, Path] = {}
        for path in sorted(found, key=lambda path: (path in self.elsewhere, path)):
            once.setdefault(self.itself(path), path)
        return sorted(once.values())

    def refuse_dangling(self, wanted: Callable[[Sequence[str]], bool]) -> None:
        """Raise InputError for a broken link if `wanted` is true for the parts of its path in the folder."""
        for link in self.links:
            if not link.leads and wanted(self._name(link.path)):
                raise InputError(f"{link.path}: {NOWHERE}")

    def itself(self, path: Path) -> Path:
        """Return the real path of a file, which differs only if there is a link in the path."""
        return self.elsewhere.get(path, path)

    def outside(self, folder: Path) -> dict[str, str]:
        """Return the links that lead out of `folder`, which contains this tree: targets by path in `folder`."""
        inside = Path(os.path.realpath(folder))
        return {
            link.path.relative_to(folder).as_posix(): str(link.target)
            for link in self.links
            if link.leads and not link.target.is_relative_to(inside)
        }

    def _name(self, path: Path) -> tuple[str, ...]:
        return path.parts[len(self.folder.parts) :]


def walk(folder: Path, *, follow: bool = True, hidden: bool = False, deep: bool = True) -> Tree:
    """List the files below a folder; without `deep`, only files directly in it. Names that begin with a dot are listed only if
    `hidden` is set.

    A linked folder is entered unless it contains the link (by device and inode). Below one link, each folder is entered once, by
    its shortest path. Files that disappear during the walk are left out. Without `follow`, links are listed but not followed.
    Raises InputError for a folder that cannot be read, and when links lead to more than MOST_LINKED folders.
    """
    root, linked = Path(os.path.realpath(folder)), 0
    files: list[Path] = []
    elsewhere: dict[Path, Path] = {}
    special: dict[Path, str] = {}
    left_out: list[Path] = []
    # Each link is kept once, by its own location, even if several paths lead to it.
    links = {folder: Link(folder, root, _is(root.exists))} if folder.is_symlink() else {}
    # `seen`: below a link, one set grows while the linked folder is walked; elsewhere it holds the folders above.
    waiting = deque([_Waiting(folder, None, set())])
    while waiting:
        here = waiting.popleft()
        inode, entries = _look(here.path)
        if inode is None or inode in here.seen:
            continue
        linked += here.itself is not None
        if linked > MOST_LINKED:
            raise InputError(
                f"{folder}: links lead to more than {MOST_LINKED:,} folders. Remove those that lead to each other."
            )
        if here.itself:
            here.seen.add(inode)
        for entry in entries:
            if entry.name.startswith(".") and not hidden:
                left_out += [Path(entry.path)] if entry.name[1:2].isalnum() else []
                continue
            path, itself, seen = Path(entry.path), here.itself and here.itself / entry.name, here.seen
            if entry.is_symlink():
                place = itself or path
                if place not in links:
                    target = Path(os.path.realpath(entry.path))
                    links[place] = Link(path, target, _is(target.exists))
                if not follow:
                    continue
                target = links[place].target
                itself = folder / target.relative_to(root) if target.is_relative_to(root) else target
            if _is(entry.is_dir):
                waiting += [_Waiting(path, itself, seen if here.itself else {*seen, inode})] if deep else []
            elif _is(entry.is_file):
                files.append(path)
                if itself:
                    elsewhere[path] = itself
            elif kind := special_files.special(path):
                special[path] = kind
    ordered = sorted(links.values(), key=lambda link: link.path)
    return Tree(folder, tuple(sorted(files)), tuple(ordered), elsewhere, special, tuple(sorted(left_out)))


@dataclass(frozen=True)
class _Waiting:
    """A folder yet to be walked."""

    path: Path
    itself: Path | None
    """Its real path, if a link led to it."""
    seen: set[tuple[int, int]]


def _look(folder: Path) -> tuple[tuple[int, int] | None, list["os.DirEntry[str]"]]:
    """Return the device and inode of a folder, and its entries by name; (None, []) if it is gone."""
    try:
        state = folder.stat()
        with os.scandir(folder) as entries:
            return (state.st_dev, state.st_ino), sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return None, []
    except OSError as error:
        raise InputError(
            f"{folder}: the folder cannot be read: {error.strerror or error}. Make it readable for this user, or move it elsewhere."
        ) from None


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a link to itself, or to a place that this user may not read
        return False


def refuse_links(tree: Tree, setting: str) -> None:
    """Raise InputError if there are links; `setting` is the setting that forbids them."""
    if tree.links:
        places = [link.path.relative_to(tree.folder.parent).as_posix() for link in tree.links]
        raise InputError(
            f"{tree.folder.parent}: {setting} is false, but {listed(places)} {'is a link' if len(places) == 1 else 'are links'}."
            " Put the files or folders themselves there, or let links be followed."
        )


def refuse_special(tree: Tree) -> None:
    """Raise InputError for named pipes, sockets and devices, since opening one may wait for ever."""
    if problem := next(_special(tree), ""):
        raise InputError(problem)


def misplaced(landing: Path) -> list[str]:
    """List entries of the landing folder that cannot be read: broken links, named pipes, sockets, devices."""
    tree = walk(landing, deep=False)
    dangling = [f"{link.path}: {NOWHERE}" for link in tree.links if not link.leads and link.path != landing]
    return [*dangling, *_special(tree)]


def _special(tree: Tree) -> Iterator[str]:
    for path, kind in sorted(tree.special.items()):
        yield f"{path}: this is {kind}, not a file. Move it out of the folder, or put a file in its place."


def links_outside(tree: Tree, folder: Path, what: str) -> list[str]:
    """Return a sentence, in a list, about the links that lead out of a folder; an empty list if there are none. `what` is the
    tree's name in the sentence."""
    found = [f"{name} -> {target}" for name, target in tree.outside(folder).items()]
    if not found:
        return []
    return [
        f"{what}: {len(found):,} {'link leads' if len(found) == 1 else 'links lead'} outside {folder}: {listed(found)}"
    ]


def listed(names: Sequence[str]) -> str:
    """Return the first MOST_NAMED names, and the number of others."""
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(printable(name) for name in names[:MOST_NAMED]) + more


@dataclass(frozen=True)
class Glob:
    """A glob, part by part; None stands for `**`, which matches any number of folders."""

    parts: tuple[re.Pattern[str] | None, ...]

    def matches(self, path: Sequence[str]) -> bool:
        """Return whether a path, given as its parts, matches."""
        return len(self.parts) in self._used(path)

    def leads_on(self, path: Sequence[str]) -> bool:
        """Return whether a path matches, or could contain matching files if it were a folder."""
        return bool(self._used(path))

    def _used(self, path: Sequence[str]) -> set[int]:
        """Return the possible numbers of the glob's parts that the path matches; empty if it cannot match."""
        at = self._on({0})
        for name in path:
            at = self._on({number for number in at if number < len(self.parts) for number in self._step(number, name)})
        return at

    def _step(self, number: int, name: str) -> tuple[int, ...]:
        part = self.parts[number]
        if part is None:
            return (number,)
        return (number + 1,) if part.match(name) else ()

    def _on(self, at: set[int]) -> set[int]:
        """Add to `at`, numbers of matched parts, those after a following `**`, which may match no folder; return `at`."""
        for number, part in enumerate(self.parts):
            if number in at and part is None:
                at.add(number + 1)
        return at


@lru_cache(maxsize=256)
def glob(pattern: str) -> Glob:
    """Parse a glob relative to a folder. Unlike with `Path.glob`, its meaning is the same in every version of Python.

    A final `**` matches all files below. Raises ValueError for a pattern that is empty or absolute, leads upwards, or
    has `**` within a name.
    """
    parts = PurePosixPath(pattern).parts
    if not parts or parts[0].startswith("/") or ".." in parts or any("**" in part and part != "**" for part in parts):
        raise ValueError(f"{pattern!r} is not a glob of files below a folder")
    parts = (*parts, "*") if parts[-1] == "**" else parts
    return Glob(tuple(None if part == "**" else re.compile(fnmatch.translate(part)) for part in parts))
