"""Detect input files that change during reading, by comparing their states before and after.

A `Watched`, made before anything is read, gives the hashes and sizes of the inputs, and also guards the work. So an
artifact is never made from inputs that differ from those in its fingerprint.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ehr_pipeline.errors import InputError
from ehr_pipeline.store import special_files
from ehr_pipeline.store.artifacts import hash_of

Result = TypeVar("Result")
# Size in bytes and modification time in ns. Not the inode: some network file systems report a different one each time.
State = tuple[int, int]


@dataclass(frozen=True)
class Watched:
    """Input files, each with its state when it was listed."""

    files: tuple[Path, ...]
    states: Mapping[Path, State]
    find: Callable[[], Iterable[Path]] | None = field(default=None, repr=False)
    """Lists the files again if they are those of a folder; None if each is given by a setting."""

    @classmethod
    def of(cls, files: Iterable[Path], find: Callable[[], Iterable[Path]] | None = None) -> "Watched":
        """Record the current states of files. Raises InputError for a missing, inaccessible or special file."""
        listed = tuple(files)
        return cls(listed, {path: _state(path) for path in listed}, find)

    @property
    def sizes(self) -> list[int]:
        """Sizes in bytes, in the order of the files. A new release changes sizes; copying a file again does not."""
        return [self.states[path][0] for path in self.files]

    def hash(self, root: Path) -> str:
        """Return a hash of relative name, size and modification time of all files, which need not be read."""
        return hash_of([(path.relative_to(root).as_posix(), *self.states[path]) for path in sorted(self.files)])

    def hashes(self) -> list[str]:
        """Return a hash of the name and state of each file, in the order of the files."""
        return [hash_of([(path.name, *self.states[path])]) for path in self.files]

    def changed(self) -> str:
        """Return a message about a file that changed, appeared or disappeared since the listing; empty if there is none."""
        try:
            now = {path: _state(path) for path in (self.find() if self.find else self.files)}
        except InputError as error:
            return str(error)
        for path in sorted(now.keys() | self.states.keys()):
            if path not in self.states:
                return f"{path}: the file appeared while the others were in use. Wait until all are complete, then run again."
            if path not in now:
                return f"{path}: the file disappeared while it was in use. Put it in place again, then run again."
            if now[path] != self.states[path]:
                return f"{path}: the file changed while it was in use. Wait until it is complete, then run again."
        return ""

    def guard(self, build: Callable[[Path], Result]) -> Callable[[Path], Result]:
        """Wrap `build`: when it ends or fails, raise InputError if a file has changed, appeared or disappeared."""

        def build_and_compare(out: Path) -> Result:
            try:
                result = build(out)
            except Exception as error:
                if changed := self.changed():  # a changed input may be the cause
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
