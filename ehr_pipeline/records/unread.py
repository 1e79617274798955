"""Files in an extract's folder that no kind reads. They are reported; if one is named like a missing table, that is an error.

An archive, a database, or a file named like an existing table causes a warning: it may hold part of a table.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ehr_pipeline.records import files
from ehr_pipeline.records.kinds import Kind
from ehr_pipeline.store.file_listing import Tree, listed

NOTE = "notes/unread.json"
MOST_WRITTEN = 10_000
PACKED = (".zip", ".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz", ".zst", ".gpg", ".pgp")
DATA = (
    *(".xlsx", ".xls", ".mdb", ".accdb", ".sqlite", ".db"),
    *(".sav", ".dta", ".sas7bdat", ".rds", ".rdata", ".feather", ".orc", ".avro"),
)
"""Endings of files that hold other files or tables, in formats that nothing here reads."""
NO_TABLES = (
    *(".md5", ".sha1", ".sha256", ".sha512", ".sig", ".asc"),
    *(".ctl", ".log", ".pdf", ".docx", ".md", ".html", ".json", ".xml", ".sql"),
)
"""Endings of files that accompany tables and have the same names."""
UNFINISHED = (
    *(".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".temp"),
    *(".bak", ".old", ".orig", ".swp", "~"),
)
"""Endings of unfinished copies, and of copies of an earlier state."""
_COPY = re.compile(r"^(copyof|kopievon|copiede|copiade)")


@dataclass(frozen=True)
class Unread:
    """Files that no kind reads. Empty and hidden ones do not count."""

    names: tuple[str, ...]
    """Names relative to the folder of the extract, sorted."""
    bytes: int
    """Total size of these files."""
    hidden: tuple[str, ...] = ()
    """Hidden files and folders, unless the same name without its leading dot exists too. They are not counted."""

    def __str__(self) -> str:
        return (
            f"{len(self.names):,} files that [records] does not read ({self.bytes / 1e6:,.1f} MB): {listed(self.names)}"
        )

    @property
    def counts(self) -> dict[str, int]:
        """Number of files and of bytes. Names are left out: counts go to Dagster, and a name may contain an id."""
        return {"files": len(self.names), "bytes": self.bytes}

    def write(self, out: Path) -> None:
        """Write the first of the names into the folder of the artifact."""
        (out / NOTE).parent.mkdir(exist_ok=True)
        (out / NOTE).write_text(json.dumps(self.names[:MOST_WRITTEN], indent=1) + "\n", encoding="utf-8")


NONE = Unread((), 0)


def look(tree: Tree, read: Iterable[Path], others: Iterable[Path] = ()) -> Unread:
    """Return the files of an extract that are not `read`. A file that was read by another name, through a link, counts as read.

    `others` are files that other stages read, such as a dictionary of codes: wherever they lie, they are not unread.
    """
    known, names, size = {tree.itself(path) for path in read}, [], 0
    elsewhere = {os.path.realpath(path) for path in others}
    for path in tree.files:
        if tree.itself(path) in known or (elsewhere and os.path.realpath(path) in elsewhere):
            continue
        try:
            own = path.stat().st_size
        except OSError:  # it was removed meanwhile
            continue
        if own:
            names.append(path.relative_to(tree.folder).as_posix())
            size += own
    hidden = (path for path in tree.hidden if not path.with_name(path.name[1:]).exists())
    return Unread(tuple(sorted(names)), size, tuple(path.relative_to(tree.folder).as_posix() for path in hidden))


def misnamed(folder: Path, absent: Iterable[Kind], unread: Unread) -> Iterator[str]:
    """Yield a message for each kind of file that is missing although an unread file (misspelt, zipped) or folder has a similar
    name."""
    for kind in absent:
        alike = _similar_names(kind, unread.names)
        if alike:
            yield (
                f"{folder}: nothing there for {kind.where}, but {listed(alike)} {'has' if len(alike) == 1 else 'have'} its name and"
                f" {'is' if len(alike) == 1 else 'are'} not read. Read are files like {files.patterns(kind)[0]!r}: unpack or rename"
                " what belongs to it, or move it out of the folder."
            )


def unread_candidates(folder: Path, kinds: Iterable[Kind], unread: Unread) -> Iterator[str]:
    """Yield a message on unread files that may belong to the extract.

    These are archives, databases, and files that are named like the extract's files (even hidden ones).
    """
    tables = [name for name in unread.names if not name.lower().endswith(NO_TABLES)]
    alike = {name for kind in kinds for name in _similar_names(kind, (*tables, *unread.hidden))}
    others = sorted(alike.union(name for name in tables if name.lower().endswith(PACKED + DATA)))
    if others:
        yield (
            f"{folder}: not read, though rows of the extract may be in it: {listed(others)}. Unpack or export it, and name it as"
            " `files` of its kind says; or move it out of the folder."
        )


def unfinished(read: Iterable[Path]) -> Iterator[str]:
    """Yield a message for each file that is read although its name is that of an unfinished or an old copy."""
    for path in read:
        if path.name.lower().endswith(UNFINISHED):
            yield (
                f"{path}: this file is read, but its name says that it is no finished copy, or one of a former state. Rename it, or"
                " move it out of the folder."
            )


def _similar_names(kind: Kind, names: Iterable[str]) -> list[str]:
    """Return the names that are like those of the kind's files, and the names of files in folders with such a name."""
    named_like = [pattern for glob in files.patterns(kind) if (pattern := _name(glob))]
    return [
        name
        for name in names
        if any(fnmatchcase(_plain(part), pattern) for part in Path(name).parts for pattern in named_like)
    ]


def _plain(name: str) -> str:
    """Return a name without endings, as lower-case letters and digits: 'Drug_Exposure.csv.zip' is 'drugexposure'."""
    return _COPY.sub("", re.sub(r"[^a-z0-9]", "", name.lstrip(".").split(".")[0].lower()))


def _name(glob: str) -> str:
    """Return a pattern for plain names (`_plain`) like those of a glob; empty if any name would match."""
    parts = [part for part in glob.split("/") if part.strip("*")]
    whole = parts and not set("*?[") & set(parts[-1])  # one file: what stands beside it in its folder is another
    first = (parts[-1 if whole else 0] if parts else "").split(".")[0].lower()
    first = re.sub(r"\[([a-z])\1\]", r"\1", first)  # [Oo] is any case
    pattern = "".join(
        part if part.startswith("[") else re.sub(r"[^a-z0-9*?]", "", part) for part in re.split(r"(\[[^\]]*\])", first)
    )
    return pattern if re.search(r"[a-z]{3}", pattern) else ""
