"""`ehr-pipeline pull`: fetch the artifacts of a mirror into a store, each whole or not at all.

Files are fetched into `.pulling` in the store, and get their final names once their hashes are verified. So an
interrupted pull can resume, and each artifact is published by one rename.
"""

import hashlib
import logging
import shutil
from pathlib import Path

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.errors import UserError
from ehr_pipeline.mirror import copy_checks, index
from ehr_pipeline.mirror.index import INDEX, PARTITIONED, Index
from ehr_pipeline.mirror.object_store import Mirror
from ehr_pipeline.store import durable
from ehr_pipeline.store.artifacts import Counts, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import stage_of
from ehr_pipeline.typed_settings import file_hash
from ehr_pipeline.work.progress import Progress

_log = logging.getLogger("ehr_pipeline")
WORK = ".pulling"


def pull(study: Study) -> Counts:
    """Fetch the artifacts that the store lacks, or has only in an older version.

    Artifacts with data of patients who have left since (`records.withdrawals`, a newer snapshot) are not fetched.
    Returns counts of artifacts: `copied`, `kept` (already in the store), `newer` (the store's version is newer),
    `unfinished` (in the mirror) and `left_out` by reason; and the `bytes` fetched. On UserError, only complete
    artifacts were published.
    """
    store = Store(study.study.store)
    terms = copy_checks.Terms(study, store)
    mirror = Mirror.at(study.study.mirror)
    counts: Counts = {"copied": 0, "kept": 0, "newer": 0, "unfinished": 0, "left_out": {}, "bytes": 0}
    with copy_checks.one_copy_at_a_time(store):
        name = copy_checks.begin_pull(mirror, store)
        try:
            for asset in ASSETS:
                _pull(asset, store, mirror, terms, counts)
            shutil.rmtree(store.root / WORK, ignore_errors=True)
        except OSError as error:
            raise UserError(
                f"{store.root} (study.store): {durable.what_to_do(error)}. Completely fetched files are kept; pull again to resume."
            ) from error
        if not counts["unfinished"] and counts["left_out"].keys() <= {copy_checks.REPLACED}:
            copy_checks.end_pull(mirror, store, name)
    return counts


def _pull(asset: str, store: Store, mirror: Mirror, terms: copy_checks.Terms, counts: Counts) -> None:
    mirrored = index.grouped(mirror.files(f"{stage_of(asset)}/{asset}"))
    whole = [folder for folder, objects in mirrored.items() if INDEX in objects]
    indices = mirror.in_parallel(lambda folder: _read(mirror.read(f"{folder}/{INDEX}") or b"", folder, mirror), whole)
    made_at = {folder: str(found.manifest["made_at"]) for folder, found in zip(whole, indices, strict=True)}
    newest: dict[str, str] = {}  # folder by partition; there may be several: push removes a replaced artifact last
    for folder in sorted(whole, key=lambda folder: (made_at[folder], folder)):
        newest[index.partition_of(folder)] = folder
    unfinished = {index.partition_of(folder) for folder in mirrored} - newest.keys()
    if unfinished:
        _log.warning("%s of %d extracts or stages was not pushed to its end: push again", asset, len(unfinished))
        counts["unfinished"] += len(unfinished)
    if asset in PARTITIONED:
        terms.newest = max(terms.newest, *newest, "")
    for partition, folder in sorted(newest.items()):
        content = mirror.read(f"{folder}/{INDEX}") or b""
        listed = _read(content, folder, mirror)
        known = store.usable(asset, partition or None)  # a damaged one is fetched again
        here = known.manifest if known else {}
        reason = terms.why_not(listed.manifest)
        if here.get("made_at", "") > listed.manifest["made_at"]:
            counts["newer"] += 1
        elif reason:
            counts["left_out"][reason] = counts["left_out"].get(reason, 0) + 1
        elif here.get("fingerprint") == listed.manifest["fingerprint"]:
            counts["kept"] += 1
        else:
            work = store.root / WORK / f"{asset}-{hashlib.sha256(content).hexdigest()[:32]}"
            counts["bytes"] += _fetch(mirror, folder, listed, work)
            store.adopt(asset, partition or None, work)
            counts["copied"] += 1


def _read(content: bytes, folder: str, mirror: Mirror) -> Index:
    try:
        return index.read(content, folder)
    except ValueError as error:
        raise UserError(
            f"{mirror.name}/{folder}/{INDEX} cannot be used: {error}. Push again from where it was made. Nothing of this artifact"
            " was published."
        ) from None


def _fetch(mirror: Mirror, folder: str, listed: Index, work: Path) -> int:
    """Fetch the files of an artifact that are still missing from `work`. Returns the number of bytes fetched."""
    for name in [str(Path(file).parent) for file in listed.files] + listed.folders:
        (work / name).mkdir(parents=True, exist_ok=True)
    missing = sorted(name for name, (_, digest) in listed.files.items() if file_hash(work / name) != digest)
    total = sum(listed.files[name][0] for name in missing)
    _log.info("%s: %d of %d files to fetch, %.1f MB", folder, len(missing), len(listed.files), total / 1e6)
    progress = Progress(f"fetching {folder}", total)

    def get(name: str) -> int:
        size, digest = listed.files[name]
        target = work / name
        part = target.with_name(f"{target.name}.part")
        try:
            got = mirror.get(f"{folder}/{digest}", part, size)
            if got != (size, digest):
                raise UserError(
                    f"{mirror.name}/{folder}: {name} is not the file that was published ({got[0]:,} bytes for {size:,}, or another"
                    f" content). Nothing of this artifact was published here. Remove the object {digest} there, push again from"
                    " where it was made, then pull; or make the artifact again here."
                )
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return size

    fetched = 0
    for size in mirror.in_parallel(get, missing):
        progress.advance(size)
        fetched += size
    return fetched
