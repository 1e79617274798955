"""Input files that are watched: listed once, read as they were listed, and compared again when the reading is done.

Whoever hashes inputs, or tells their sizes, does so from one `Watched`, made before anything is read, and the same value guards the
work. So an artifact never holds anything but the inputs that its fingerprint names.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ehr_pipeline.errors import InputError
from ehr_pipeline.store import special_files
from ehr_pipeline.store.artifacts import hash_of

Result = TypeVar("Result")
# Size in bytes and time of change in ns. Not the inode: some network file systems give a file another one at each look.
State = tuple[int, int]


@dataclass(frozen=True)
class Watched:
    """Input files, each with its state when it was listed."""

    files: tuple[Path, ...]
    states: Mapping[Path, State]
    find: Callable[[], Iterable[Path]] | None = field(default=None, repr=False)
    """Lists them again, where a folder was looked into; None where settings name each file."""

    @classmethod
    def of(cls, files: Iterable[Path], find: Callable[[], Iterable[Path]] | None = None) -> "Watched":
        """Watch files from now on. Raises InputError for one that is not there."""
        listed = tuple(files)
        return cls(listed, {path: _state(path) for path in listed}, find)

    @property
    def sizes(self) -> list[int]:
        """Sizes in bytes, in order of the files: another release has others; a file that was only copied again has not."""
        return [self.states[path][0] for path in self.files]

    def hash(self, root: Path) -> str:
        """The state of all files as a hash, by relative name, size and time of change: large files are not read just for that."""
        return hash_of([(path.relative_to(root).as_posix(), *self.states[path]) for path in sorted(self.files)])

    def hashes(self) -> list[str]:
        """The state of each file as a hash, in order of the files."""
        return [hash_of([(path.name, *self.states[path])]) for path in self.files]

    def changed(self) -> str:
        """Which file is no longer what it was when it was listed, and what to do; empty when all are."""
        try:
            now = {path: _state(path) for path in (self.find() if self.find else self.files)}
        except InputError as error:
            return str(error)
        for path in sorted(now.keys() | self.states.keys()):
            if path not in self.states:
                return (
                    f"{path}: the file came while the others were in use. Wait until all are complete, then run again."
                )
            if path not in now:
                return f"{path}: the file went while it was in use. Put it in place again, then run again."
            if now[path] != self.states[path]:
                return f"{path}: the file changed while it was in use. Wait until it is complete, then run again."
        return ""

    def guard(self, build: Callable[[Path], Result]) -> Callable[[Path], Result]:
        """`build`, but with an InputError when a file is another one, or there are others, when it ends or fails."""

        def build_and_compare(out: Path) -> Result:
            try:
                result = build(out)
            except Exception as error:
                if changed := self.changed():  # which may well be why
                    raise InputError(changed) from error
                raise
            if changed := self.changed():
                raise InputError(changed)
            return result

        return build_and_compare


def _state(path: Path) -> State:
    try:
        stat = path.stat()
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}. Put the file in place, readable for this user, then run again."
        ) from None
    if kind := special_files.kind(stat.st_mode):
        raise InputError(f"{path}: this is {kind}. Put a file there, then run again.")
    return stat.st_size, stat.st_mtime_ns
