"""Compare the files of an artifact with its manifest. Every reader does this first.

    <store>/<stage>/<asset>/[<partition>/]<fingerprint>.verified     the states of the files when their content was compared

Names and sizes are compared each time. The content of a file is compared once, and again if the file has changed. A note
detects changes: it records size, modification time, change time (which cannot be set back) and inode. The note is stored
next to the artifact, which itself never changes, and is not copied to mirrors. If a note is missing, incomplete or about
other files, the content is simply compared again. So the note needs no lock: processes that verify the same artifact at
the same time write the same note. Bit rot on the disk does not change the recorded state; `ehr-pipeline verify` finds it
by reading everything again.
"""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

from ehr_pipeline.errors import Damaged
from ehr_pipeline.store import durable, special_files
from ehr_pipeline.typed_settings import file_hash, hash_of

MANIFEST = "manifest.json"
NOT_HASHED = ("notes", "quarantine", "labels", "predictions")
"""Folders that are not part of the data version: pictures, logs and timings; places of rejected rows; labels and predictions with
subject ids. Subject ids are hashed with the store's key, while data files must have the same bytes whatever the key."""
CHECKSUM = "checksum"
"""Key of the manifest's checksum: the hash of everything else in it. Older manifests have none, and list no notes."""
_NEEDED = {
    "asset": str,
    "fingerprint": str,
    "version": str,
    "data_version": str,
    "made_at": str,
    "inputs": dict,
    "counts": dict,
    "files": dict,
}
SETTLED = 0.1
"""Seconds until a change of a file is visible in its times."""
_log = logging.getLogger("ehr_pipeline")
Listed = dict[str, dict[str, Any]]
"""Size in bytes and SHA-256 of files, by name relative to the artifact."""
State = list[int]
_LOGGED: set[str] = set()
_UNCHANGED: dict[Path, dict[str, State]] = {}
"""Notes that could not be written, by artifact, so that each process hashes a read-only store only once."""


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return a manifest with its checksum added. The checksum is taken after a round trip through JSON."""
    return {**manifest, CHECKSUM: hash_of(json.loads(json.dumps(manifest)))}


def read_manifest(folder: Path, asset: str, partition: str | None = None) -> dict[str, Any]:
    """Return the manifest of an artifact. Raises FileNotFoundError if there is none, Damaged if it changed after it was written."""
    path = folder / MANIFEST
    if kind := special_files.special(path):
        raise Damaged(message(asset, partition, path, f"it is {kind}"))
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        why = _why_not(manifest, folder.name, asset, partition)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        why = durable.why(error)
    if why:
        raise Damaged(message(asset, partition, path, why))
    return dict(manifest)


def _why_not(manifest: Any, fingerprint: str, asset: str, partition: str | None) -> str:
    """Return why `manifest` is not a valid manifest of this artifact; empty if it is valid."""
    if not isinstance(manifest, dict) or not all(isinstance(manifest.get(key), of) for key, of in _NEEDED.items()):
        return "it is no manifest"
    rest = {key: value for key, value in manifest.items() if key != CHECKSUM}
    if (CHECKSUM in manifest) != ("notes" in manifest) or manifest.get(CHECKSUM, hash_of(rest)) != hash_of(rest):
        return "it is not as it was written"
    if (manifest["asset"], manifest.get("partition"), manifest["fingerprint"]) != (asset, partition, fingerprint):
        return "it is that of another artifact"
    try:
        digests = {name: str(each["sha256"]) for name, each in manifest["files"].items()}
        sizes = [each["bytes"] for each in manifest["files"].values()]
    except (KeyError, TypeError):
        return "it is no manifest"
    if not all(isinstance(size, int) for size in sizes):
        return "it is no manifest"
    return "" if hash_of(digests) == manifest["data_version"] else "it is not as it was written"


def message(asset: str, partition: str | None, path: Path, why: str) -> str:
    """Return the message about a damaged file: its path, what is wrong with it, and what to do."""
    of = f"{asset} of extract {partition}" if partition else asset
    return (
        f"{path}: the file is not what was published ({why}), so {of} is not used. To rebuild it:"
        f" ehr-pipeline run --settings FILE --select {asset}; to copy it back out of a mirror: ehr-pipeline pull --settings FILE"
    )


def listed(manifest: Mapping[str, Any]) -> Listed:
    """Return every file that a manifest lists: data files, and other files (which older manifests do not list)."""
    return {**manifest.get("files", {}), **manifest.get("notes", {})}


class Hashing:
    """Hashes the files of a folder, and flushes them to the disk, while others are still being written (`go_on`)."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._known: dict[str, tuple[State, str]] = {}
        self._ended = Event()

    def go_on(self) -> None:
        """Hash and flush the files that have not changed for a while. A file that changes later is hashed again at the end.

        Where times are in whole seconds, they may hide a change, so nothing is hashed before the end.
        """
        with contextlib.suppress(OSError):  # a file was removed meanwhile; what else is wrong is told at the end
            for name, stat in _stats(self._folder).items():
                is_scratch, state = any(part.startswith(".") for part in name.split("/")), _state(stat)
                is_settled = stat.st_mtime_ns % 10**9 and time.time() - stat.st_mtime > SETTLED
                if is_scratch or not is_settled or self._known.get(name, ([], ""))[0] == state:
                    continue
                if self._ended.is_set():
                    return
                self._known[name] = state, file_hash(self._folder / name)
                durable.flush(self._folder / name)

    def stop(self) -> None:
        """Let `go_on` return after its current file."""
        self._ended.set()

    def of(self, name: str) -> str:
        """Return the SHA-256 of a file of the folder."""
        with (self._folder / name).open(
            "rb"
        ) as stream:  # opened, so that a network file system reports its current state
            state, digest = self._known.get(name, ([], ""))
            return digest if state == _state(os.fstat(stream.fileno())) else file_hash(self._folder / name)


def measured(folder: Path, hashing: Hashing | None = None) -> tuple[Listed, Listed, dict[str, State]]:
    """Return the data files in a folder, its other files (not hashed into the data version), and the states of all of them.

    `hashing` knows the hashes of files that were complete before.
    """
    stats = _stats(folder)
    names = sorted(name for name in stats if name != MANIFEST)
    with ThreadPoolExecutor() as pool:
        digests = dict(zip(names, pool.map((hashing or Hashing(folder)).of, names), strict=True))
    measures = {name: {"bytes": stats[name].st_size, "sha256": digests[name]} for name in names}
    data = {name: measures[name] for name in names if name.split("/")[0] not in NOT_HASHED}
    notes = {name: measures[name] for name in names if name not in data}
    return data, notes, {name: _state(stats[name]) for name in names}


def verify(folder: Path, manifest: Mapping[str, Any], *, strays: bool = True, everything: bool = False) -> None:
    """Raise Damaged unless every file of an artifact matches its manifest. Unchanged files are not read again.

    With `strays`, files that the manifest does not list are damage too, since a reader of the folder would read them.
    With `everything`, notes are ignored and all files are read again.
    """
    damage = damages(folder, manifest, everything)
    if damage:
        (name, why), more = damage[0], len(damage) - 1
        also = f"; {more} more of its files too" if more else ""
        raise Damaged(message(manifest["asset"], manifest.get("partition"), folder / name, why + also))
    if strays and (unlisted := unlisted_files(folder, manifest)):
        raise Damaged(
            f"{folder / unlisted[0]}: this file was not published: the manifest of {manifest['asset']} does not list it. Remove it."
        )


def is_intact(target: Path, asset: str, partition: str | None) -> tuple[bool, str]:
    """Return whether an artifact exists with every file in its manifest; and the problem of a damaged one, or ''."""
    try:
        verify(target, read_manifest(target, asset, partition), strays=False)
    except FileNotFoundError:
        return False, ""
    except Damaged as damage:
        warn(damage)
        return False, str(damage)
    return True, ""


def verify_copy(folder: Path) -> None:
    """Raise Damaged if a folder belongs to an artifact, or to a copy of one, that does not match its manifest."""
    root = next((root for root in (folder, folder.parent) if (root / MANIFEST).is_file()), None)
    if root is None:
        return  # a copy without its manifest
    try:
        named = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        asset, partition, name = str(named["asset"]), named.get("partition"), str(named["fingerprint"])
        why = _why_not(named, name, asset, partition)
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        asset, partition, why = folder.name, None, durable.why(error)
    if why:
        raise Damaged(message(asset, partition, root / MANIFEST, why))
    wanted = listed(named)
    stats = _stats(root)
    wrong = dict(_by_size(wanted, stats))
    wrong |= {
        name: why
        for name in wanted.keys() - wrong.keys()
        if (why := _content(root / name, wanted[name]["sha256"], False))
    }
    for name, reason in sorted(wrong.items())[:1]:
        raise Damaged(message(asset, partition, root / name, reason))


def warn(damage: Damaged) -> None:
    """Warn, once per process, about damage to an artifact that is not needed or is rebuilt."""
    if str(damage) not in _LOGGED:
        _LOGGED.add(str(damage))
        _log.warning("%s", damage)


def damages(folder: Path, manifest: Mapping[str, Any], everything: bool = False) -> list[tuple[str, str]]:
    """Return the files that do not match a manifest, and why. With `everything`, ignores notes and reads from disk, not cache."""
    wanted = listed(manifest)
    try:
        stats = _stats(folder)
    except OSError as error:
        return [("", durable.why(error))]
    wrong = dict(_by_size(wanted, stats))
    states = {name: _state(stats[name]) for name in wanted if name in stats}
    known = {} if everything else _read_note(folder)
    suspects = [name for name in wanted if name not in wrong and known.get(name) != states[name]]
    if suspects:
        with ThreadPoolExecutor() as pool:
            read = pool.map(lambda name: _content(folder / name, wanted[name]["sha256"], everything), suspects)
            wrong |= {name: why for name, why in zip(suspects, read, strict=True) if why}
        remember(folder, {name: state for name, state in states.items() if name not in wrong})
    return sorted(wrong.items())


def unlisted_files(folder: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Return data files that are missing from the manifest, except hidden ones, which desktops leave anywhere."""
    extra = _stats(folder).keys() - listed(manifest).keys() - {MANIFEST}
    return sorted(
        name for name in extra if name.split("/")[0] not in NOT_HASHED and not name.split("/")[-1].startswith(".")
    )


def _by_size(wanted: Listed, stats: Mapping[str, os.stat_result]) -> Iterator[tuple[str, str]]:
    for name, each in wanted.items():
        if name not in stats:
            yield name, "it is missing"
        elif stats[name].st_size != each["bytes"]:
            yield name, f"it has {stats[name].st_size:,} bytes instead of {each['bytes']:,}"


def _content(path: Path, digest: str, from_disk: bool) -> str:
    """Return why a file does not have this hash; empty if it has."""
    try:
        if from_disk:  # drop cached pages: they may be right even if the disk is not
            with path.open("rb") as stream:
                os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        return "" if file_hash(path) == digest else "its content differs"
    except OSError as error:
        return durable.why(error)


def _stats(folder: Path, below: str = "") -> dict[str, os.stat_result]:
    """Return every file in a folder, by its name relative to the folder."""
    stats: dict[str, os.stat_result] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{below}{entry.name}"
            if entry.is_dir():
                stats |= _stats(Path(entry.path), f"{name}/")
            else:
                with contextlib.suppress(FileNotFoundError):  # a link that leads nowhere counts as a missing file
                    stats[name] = entry.stat()
    return stats


def _state(stat: os.stat_result) -> State:
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def note_of(folder: Path) -> Path:
    """Return the path of the note of an artifact."""
    return folder.with_name(f"{folder.name}.verified")


def remember(folder: Path, states: dict[str, State]) -> None:
    """Write a note of the states in which files matched the manifest. If the store is not writable, only this process knows
    them."""
    try:
        note_of(folder).write_text(json.dumps(states), encoding="utf-8")
    except OSError:
        _UNCHANGED[folder] = states


def forget(folder: Path) -> None:
    """Remove the note of an artifact."""
    _UNCHANGED.pop(folder, None)
    with contextlib.suppress(OSError):
        note_of(folder).unlink()


def _read_note(folder: Path) -> dict[str, State]:
    try:
        known = json.loads(note_of(folder).read_text(encoding="utf-8"))
        if isinstance(known, dict):
            return known
    except (OSError, ValueError, RecursionError):
        pass
    return _UNCHANGED.get(folder, {})
