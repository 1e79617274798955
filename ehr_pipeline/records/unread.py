"""Report files in an extract's folder that are not read; if one is named like a missing table, that is an error.

An archive, a database, or a file named like an existing table causes a warning: it may contain part of a table.
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
MAX_WRITTEN = 10_000
PACKED = (".zip", ".7z", ".rar", ".tar", ".tgz", ".bz2", ".xz", ".zst", ".gpg", ".pgp")
DATA = (
    *(".xlsx", ".xls", ".mdb", ".accdb", ".sqlite", ".db"),
    *(".sav", ".dta", ".sas7bdat", ".rds", ".rdata", ".feather", ".orc", ".avro"),
)
"""Endings of files that contain other files or tables, in formats that are not supported."""
NO_TABLES = (
    *(".md5", ".sha1", ".sha256", ".sha512", ".sig", ".asc"),
    *(".ctl", ".log", ".pdf", ".docx", ".md", ".html", ".json", ".xml", ".sql"),
)
"""Endings of files that accompany tables, with the same names."""
UNFINISHED = (
    *(".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp", ".temp"),
    *(".bak", ".old", ".orig", ".swp", "~"),
)
"""Endings of unfinished copies, and of copies of an earlier state."""
_COPY = re.compile(r"^(copyof|kopievon|copiede|copiade)")


@dataclass(frozen=True)
class UnreadFiles:
    """Files that are not read, except empty and hidden ones."""

    names: tuple[str, ...]
    """Names relative to the folder of the extract, sorted."""
    bytes: int
    """Total size of these files."""
    hidden: tuple[str, ...] = ()
    """Hidden files and folders, unless the same name exists without its leading dot. They are not counted."""

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
        (out / NOTE).write_text(json.dumps(self.names[:MAX_WRITTEN], indent=1) + "\n", encoding="utf-8")


NONE = UnreadFiles((), 0)


def find_unread(tree: Tree, read: Iterable[Path], others: Iterable[Path] = ()) -> UnreadFiles:
    """Return the files of an extract that are not in `read`, not even by another name through a link.

    `others` are files that other stages read, such as a dictionary of codes.
    """
    known, names, size = {tree.itself(path) for path in read}, [], 0
    elsewhere = {os.path.realpath(path) for path in others}
    for path in tree.files:
        if tree.itself(path) in known or (elsewhere and os.path.realpath(path) in elsewhere):
            continue
        try:
            file_size = path.stat().st_size
        except OSError:  # it was removed meanwhile
            continue
        if file_size:
            names.append(path.relative_to(tree.folder).as_posix())
            size += file_size
    hidden = (path for path in tree.hidden if not path.with_name(path.name[1:]).exists())
    return UnreadFiles(tuple(sorted(names)), size, tuple(path.relative_to(tree.folder).as_posix() for path in hidden))


def misnamed(folder: Path, absent: Iterable[Kind], unread: UnreadFiles) -> Iterator[str]:
    """Yield a message per missing kind of file if an unread file (misspelt, zipped) or folder has a similar name."""
    for kind in absent:
        similar = _similar_names(kind, unread.names)
        if similar:
            yield (
                f"{folder}: no file for {kind.where}, but unread files with a similar name: {listed(similar)}. Only files like"
                f" {files.patterns(kind)[0]!r} are read: unpack or rename those that belong to it, or move them out of the folder."
            )


def unread_candidates(folder: Path, kinds: Iterable[Kind], unread: UnreadFiles) -> Iterator[str]:
    """Yield a message on unread archives, databases, and files (even hidden) named like the extract's files."""
    tables = [name for name in unread.names if not name.lower().endswith(NO_TABLES)]
    several = [kind for kind in kinds if not all(map(_is_path, files.patterns(kind)))]
    alike = {name for kind in several for name in _similar_names(kind, (*tables, *unread.hidden))}
    others = sorted(alike.union(name for name in tables if name.lower().endswith(PACKED + DATA)))
    if others:
        yield (
            f"{folder}: not read, but may contain rows of the extract: {listed(others)}. Unpack or export these files, and rename"
            " them to match `files`; or move them out of the folder."
        )


def unfinished(read: Iterable[Path]) -> Iterator[str]:
    """Yield a message for each file to be read with the name of an unfinished or old copy."""
    for path in read:
        if path.name.lower().endswith(UNFINISHED):
            yield (
                f"{path}: read, although the name suggests an unfinished or old copy. Rename it, or move it out of the folder."
            )


def _is_path(glob: str) -> bool:
    """Return whether a glob is the path of one file in a subfolder, such as MEDS's split: the same name elsewhere is a copy."""
    return "/" in glob and not set("*?[") & set(glob)


def _similar_names(kind: Kind, names: Iterable[str]) -> list[str]:
    """Return the names similar to those of the kind's files, and the files in folders with such a name."""
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
    """Return a pattern for plain names (`_plain`) that match a glob; empty if any name would match."""
    parts = [part for part in glob.split("/") if part.strip("*")]
    whole = parts and not set("*?[") & set(parts[-1])  # a single file: others in its folder differ
    first = (parts[-1 if whole else 0] if parts else "").split(".")[0].lower()
    first = re.sub(r"\[([a-z])\1\]", r"\1", first)  # [Oo] is any case
    pattern = "".join(
        part if part.startswith("[") else re.sub(r"[^a-z0-9*?]", "", part) for part in re.split(r"(\[[^\]]*\])", first)
    )
    return pattern if re.search(r"[a-z]{3}", pattern) else ""
