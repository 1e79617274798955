"""Files in the folder of an extract that no kind reads: they are mentioned; one named like a table that is missing is a problem."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ehr_pipeline.records import files
from ehr_pipeline.records.kinds import Kind
from ehr_pipeline.store.walk import Tree, listed

NOTE = "notes/unread.json"
MOST_WRITTEN = 10_000


@dataclass(frozen=True)
class Unread:
    """Files that no kind reads. Empty and hidden ones do not count."""

    names: tuple[str, ...]
    """Relative to the folder of the extract, sorted."""
    bytes: int
    """Their sizes together."""

    def __str__(self) -> str:
        return f"{len(self.names):,} files that nothing reads ({self.bytes / 1e6:,.1f} MB): {listed(self.names)}"

    @property
    def counts(self) -> dict[str, int]:
        """How many they are, and their bytes. The names are no part of it: counts go to Dagster, and a name may be an id."""
        return {"files": len(self.names), "bytes": self.bytes}

    def write(self, out: Path) -> None:
        """Write down the first names beside the artifact."""
        (out / NOTE).parent.mkdir(exist_ok=True)
        (out / NOTE).write_text(json.dumps(self.names[:MOST_WRITTEN], indent=1) + "\n", encoding="utf-8")


NONE = Unread((), 0)


def look(tree: Tree, read: Iterable[Path]) -> Unread:
    """The files of an extract but for those that are `read`, by whatever name."""
    known, names, size = {tree.itself(path) for path in read}, [], 0
    for path in tree.files:
        if tree.itself(path) in known:
            continue
        try:
            own = path.stat().st_size
        except OSError:  # it has gone since
            continue
        if own:
            names.append(path.relative_to(tree.folder).as_posix())
            size += own
    return Unread(tuple(sorted(names)), size)


def misnamed(folder: Path, absent: Iterable[Kind], unread: Unread) -> Iterator[str]:
    """What is wrong with files that are not read, but bear the name of a kind that has none: another spelling, a zip, a folder."""
    for kind in absent:
        named_like = [pattern for glob in files.patterns(kind) if (pattern := _name(glob))]
        alike = [
            name
            for name in unread.names
            if any(fnmatchcase(_plain(part), pattern) for part in Path(name).parts for pattern in named_like)
        ]
        if alike:
            yield (
                f"{folder}: nothing there for {kind.where}, but {listed(alike)} {'has' if len(alike) == 1 else 'have'} its name and"
                f" {'is' if len(alike) == 1 else 'are'} not read. Read are files like {files.patterns(kind)[0]!r}: unpack or rename"
                " what belongs to it, or move it out of the folder."
            )


def _plain(name: str) -> str:
    """A name without its endings, in small letters and digits alone: 'Drug_Exposure.csv.zip' is 'drugexposure'."""
    return re.sub(r"[^a-z0-9]", "", name.split(".")[0].lower())


def _name(glob: str) -> str:
    """What names like those of a glob look like when they are plain; empty where any name would do."""
    first = next((part for part in glob.split("/") if part.strip("*")), "").split(".")[0].lower()
    first = re.sub(r"\[([a-z])\1\]", r"\1", first)  # [Oo] is any case
    pattern = "".join(
        part if part.startswith("[") else re.sub(r"[^a-z0-9*?]", "", part) for part in re.split(r"(\[[^\]]*\])", first)
    )
    return pattern if re.search(r"[a-z]{3}", pattern) else ""
