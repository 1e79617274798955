"""`ehr-pipeline verify`: read every file of a store again and compare it with its manifest, ignoring the notes.

Older versions are compared as well, because later work may continue them, and undoing a change of settings reuses them.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ehr_pipeline.errors import Damaged, MissingArtifact, UserError
from ehr_pipeline.store import integrity
from ehr_pipeline.store.artifacts import FINGERPRINT, Store
from ehr_pipeline.tables.asset_names import RAW_RECORDS


@dataclass
class Counts:
    """How many artifacts, files and bytes were compared, and how many artifacts are damaged."""

    artifacts: int = 0
    files: int = 0
    bytes: int = 0
    damaged: int = 0


def verify(root: Path, assets: Iterable[str], counts: Counts) -> Iterator[str]:
    """Yield one message for each damaged artifact of a store, and add what was compared to `counts`."""
    store = Store(root)
    for asset in assets:
        for partition in _partitions(store, asset):
            folder = store.folder(asset, partition)
            if (folder / "current").is_file():
                try:
                    store.current(asset, partition)
                except MissingArtifact as missing:
                    counts.damaged += 1
                    yield str(missing)
                except Damaged as damage:
                    if not (folder / store.fingerprint(asset, partition) / integrity.MANIFEST).is_file():
                        counts.damaged += 1
                        yield str(damage)
            for path in sorted(folder.iterdir()) if folder.is_dir() else []:
                if FINGERPRINT.fullmatch(path.name) and (path / integrity.MANIFEST).is_file():
                    yield from _damage(path, store.fingerprint(asset, partition), asset, partition, counts)


def _partitions(store: Store, asset: str) -> list[str | None]:
    """Return the partitions of an asset, with or without a current artifact; [None] for an asset without partitions."""
    folder = store.folder(asset)
    if asset != RAW_RECORDS or not folder.is_dir():
        return [None]
    return [*sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))]


def _damage(path: Path, current: str, asset: str, partition: str | None, counts: Counts) -> Iterator[str]:
    counts.artifacts += 1
    try:
        manifest = integrity.read_manifest(path, asset, partition)
        listed = integrity.listed(manifest)
        counts.files += len(listed)
        counts.bytes += sum(each["bytes"] for each in listed.values())
        integrity.verify(path, manifest, everything=True)
    except UserError as damage:
        counts.damaged += 1
        if path.name == current:
            yield str(damage)
        else:
            yield f"{path}: this earlier version of {asset} is damaged, and is not used. Remove the folder. ({damage})"
