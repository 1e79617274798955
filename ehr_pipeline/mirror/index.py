"""The index of an artifact in a mirror: its manifest, and the hash of every file."""

import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.errors import UserError, invisible_character
from ehr_pipeline.store import integrity
from ehr_pipeline.store.artifacts import FINGERPRINT, MANIFEST, Artifact
from ehr_pipeline.tables.asset_names import RAW_RECORDS, stage_of
from ehr_pipeline.typed_settings import file_hash

INDEX = "index.json"
PARTITIONED = (RAW_RECORDS,)
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Index:
    """An artifact's index: `files` holds size in bytes and hash by file name; `folders` lists the empty folders."""

    manifest: dict[str, Any]
    files: dict[str, tuple[int, str]]
    folders: list[str]

    @classmethod
    def of(cls, artifact: Artifact) -> "Index":
        """Index an artifact of the store. Data files are not read, since the manifest has their hashes."""
        files, folders, known = {}, [], integrity.listed(artifact.manifest)
        for path in sorted(artifact.path.rglob("*")):
            name = path.relative_to(artifact.path).as_posix()
            if path.is_file():
                listed = known.get(name)
                size, digest = (listed["bytes"], listed["sha256"]) if listed else (path.stat().st_size, file_hash(path))
                files[name] = (int(size), str(digest))
            elif not any(path.iterdir()):
                folders.append(name)
        if missing := [name for name in (*known, MANIFEST) if name not in files]:
            raise UserError(
                f"{artifact.path}: {missing[0]} is missing, which its manifest lists. Remove the folder and rebuild it."
            )
        return cls(artifact.manifest, files, folders)

    @property
    def content(self) -> bytes:
        """The bytes of the index as the mirror stores them."""
        files = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in self.files.items()}
        content = {"manifest": self.manifest, "files": files, "folders": self.folders}
        return (json.dumps(content, indent=1, sort_keys=True) + "\n").encode()

    @property
    def objects(self) -> dict[str, tuple[int, str]]:
        """The objects that hold the files, by name (hash): size in bytes, and the name of one file with this content."""
        return {digest: (size, name) for name, (size, digest) in self.files.items()}


def read(content: bytes, folder: str) -> Index:
    """Parse and check the index of a mirror's `folder`. Raises ValueError for an index that no push wrote.

    The check is needed because anybody who can write to the mirror could put any file names into an index.
    """
    try:
        listing = json.loads(content)
        files = {str(name): (int(each["bytes"]), str(each["sha256"])) for name, each in listing["files"].items()}
        index = Index(dict(listing["manifest"]), files, [str(name) for name in listing["folders"]])
        manifest = index.manifest
        listed = {name: (each["bytes"], each["sha256"]) for name, each in manifest["files"].items()}
        names = (manifest["stage"], manifest["asset"], manifest["partition"], manifest["fingerprint"])
        str(manifest["made_at"]), str(manifest["population"]), dict(manifest["inputs"]), dict(manifest["settings"])
        dict(manifest.get("governance", {})), str(manifest["data_version"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        raise ValueError("it is damaged") from None
    if "/".join(str(name) for name in names if name) != folder:
        raise ValueError("it is that of another artifact")
    if bad := [name for name in (*files, *index.folders) if not _is_below(name)]:
        raise ValueError(f"{bad[0][:80]!r} is not a file of an artifact")
    if not all(_SHA256.fullmatch(digest) and size >= 0 for size, digest in files.values()):
        raise ValueError("it contains something that is not a hash")
    if MANIFEST not in files or any(files.get(name) != each for name, each in listed.items()):
        raise ValueError("its files are not those of its manifest")
    return index


def _is_below(name: str) -> bool:
    """Return whether a name is a normalised relative path that stays below its folder, and is not that of the index."""
    path = PurePosixPath(name)
    return (
        bool(name)
        and not path.is_absolute()
        and path.as_posix() == name
        and not {".", ".."} & set(path.parts)
        and "\\" not in name
        and not invisible_character(name)
        and path.parts != (INDEX,)
    )


def place_of(path: str) -> tuple[str, str] | None:
    """Return the artifact folder that contains an object, and its partition or ''; None if it is in no such folder."""
    parts = path.split("/")
    if (
        len(parts) < 4
        or parts[1] not in ASSETS
        or stage_of(parts[1]) != parts[0]
        or not FINGERPRINT.fullmatch(parts[-2])
    ):
        return None
    if len(parts) != (5 if parts[1] in PARTITIONED else 4):
        return None
    return "/".join(parts[:-1]), parts[2] if len(parts) == 5 else ""


def grouped(files: dict[str, int]) -> dict[str, dict[str, int]]:
    """Group objects by the folder of their artifact, complete or not: for each folder, sizes by object name."""
    found: dict[str, dict[str, int]] = {}
    for path, size in files.items():
        if place := place_of(path):
            found.setdefault(place[0], {})[path.rpartition("/")[2]] = size
    return found


def partition_of(folder: str) -> str:
    """Return the partition of the artifact in a folder; '' if it has none."""
    return "/".join(folder.split("/")[2:-1])


def folder_of(artifact: Artifact, root: Path) -> str:
    """Return the folder of an artifact of the store in a mirror."""
    return artifact.path.relative_to(root).as_posix()
