"""`ehr-pipeline push`: make a mirror equal to the current artifacts of a store.

If it is killed, the mirror contains only complete artifacts, and files without an index. The next push copies the rest.
"""

import hashlib
import json
import logging
from collections.abc import Iterator

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.errors import UserError
from ehr_pipeline.mirror import copy_checks
from ehr_pipeline.mirror.index import INDEX, PARTITIONED, Index, folder_of, grouped, partition_of
from ehr_pipeline.mirror.object_store import Mirror
from ehr_pipeline.store.artifacts import KEPT_WITHOUT_CONSENT, MANIFEST, Artifact, Counts, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import stage_of
from ehr_pipeline.typed_settings import file_hash
from ehr_pipeline.work.progress import Progress

_log = logging.getLogger("ehr_pipeline")


def push(study: Study) -> Counts:
    """Copy missing artifacts, and remove those that are no longer current or contain data of patients who left.

    Returns counts of artifacts: `copied`, `kept` (already in the mirror), `removed` and `left_out` by reason; and the
    `bytes` copied. Raises UserError.
    """
    store = Store(study.study.store)
    terms = copy_checks.Terms(study, store)
    mirror = Mirror.at(study.study.mirror)
    counts: Counts = {"copied": 0, "kept": 0, "removed": 0, "left_out": {}, "bytes": 0}
    with copy_checks.one_copy_at_a_time(store):
        copy_checks.begin_push(mirror, store, study)
        for asset in ASSETS:
            _push(asset, store, mirror, terms, counts)
    return counts


def _push(asset: str, store: Store, mirror: Mirror, terms: copy_checks.Terms, counts: Counts) -> None:
    mirrored = grouped(mirror.files(f"{stage_of(asset)}/{asset}"))
    folders = [folder for folder, objects in mirrored.items() if INDEX in objects]
    indexed = dict(zip(folders, mirror.in_parallel(lambda folder: _published(mirror, folder), folders), strict=True))
    own = {}  # population by folder
    for artifact in _current(asset, store):
        if reason := terms.why_not(artifact.manifest):
            counts["left_out"][reason] = counts["left_out"].get(reason, 0) + 1
        else:
            own[folder_of(artifact, store.root)] = str(artifact.manifest["population"])
    # First remove the data of patients who left. A replaced artifact stays until its successor is complete.
    for folder in sorted(mirrored.keys() - own.keys()):
        successor = next((each for each in own if partition_of(each) == partition_of(folder)), None)
        same = folder in indexed and successor is not None and indexed[folder][1] == own[successor]
        if successor is None or not (same or asset in KEPT_WITHOUT_CONSENT):
            _remove(mirror, folder, counts)
            del mirrored[folder]
    for folder in sorted(own):
        partition = partition_of(folder) or None
        artifact = store.current(asset, partition)
        if folder_of(artifact, store.root) != folder:
            raise UserError(f"{asset} was rebuilt while it was being copied. Push again when the run has ended.")
        _copy(artifact, folder, mirrored.get(folder, {}), mirror, counts, indexed=indexed.get(folder, ("", ""))[0])
    for folder in sorted(mirrored.keys() - own.keys()):
        _remove(mirror, folder, counts)


def _current(asset: str, store: Store) -> Iterator[Artifact]:
    if asset in PARTITIONED:
        for partition in store.partitions(asset):
            yield store.current(asset, partition)
    elif store.has(asset):
        yield store.current(asset)


def _published(mirror: Mirror, folder: str) -> tuple[str, str]:
    """Return the hash of an index in the mirror, and the population in its manifest ('unknown' if it cannot be read)."""
    content = mirror.read(f"{folder}/{INDEX}") or b""
    try:
        population = str(json.loads(content)["manifest"]["population"])
    except (ValueError, KeyError, TypeError):
        population = "unknown"
    return hashlib.sha256(content).hexdigest(), population


def _remove(mirror: Mirror, folder: str, counts: Counts) -> None:
    _log.info("%s: removing %s", mirror.name, folder)
    mirror.remove_folder(folder, INDEX)
    counts["removed"] += 1


def _copy(
    artifact: Artifact, folder: str, mirrored: dict[str, int], mirror: Mirror, counts: Counts, *, indexed: str
) -> None:
    """Copy an artifact, its index last, unless the mirror has it already. Raises Damaged if the artifact is damaged."""
    artifact.verify()
    index = Index.of(artifact)
    content, objects = index.content, index.objects
    missing = sorted(digest for digest, (size, _) in objects.items() if mirrored.get(digest) != size)
    if not missing and indexed == hashlib.sha256(content).hexdigest():
        counts["kept"] += 1
        return
    if indexed:  # it differs, or lists missing files: until all are copied there must be no index
        mirror.remove([f"{folder}/{INDEX}"])
    mirror.remove(f"{folder}/{name}" for name in mirrored if name != INDEX and name not in objects)
    total = sum(objects[digest][0] for digest in missing)
    _log.info("%s: %d of %d files to copy, %.1f MB", folder, len(missing), len(objects), total / 1e6)
    progress = Progress(f"copying {folder}", total)

    def put(digest: str) -> int:
        size, name = objects[digest]
        mirror.put(artifact.file(name), f"{folder}/{digest}", digest)
        return size

    for size in mirror.in_parallel(put, missing):
        progress.advance(size)
        counts["bytes"] += size
    if file_hash(artifact.file(MANIFEST)) != index.files[MANIFEST][1]:
        raise UserError(f"{artifact.path} was removed while it was copied. Push again when the run has ended.")
    mirror.write(f"{folder}/{INDEX}", content)
    counts["copied"] += 1
