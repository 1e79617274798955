"""Publish artifacts: files are built in a separate folder, flushed to the disk, and revealed to readers by one rename.

`publish` does this for artifacts, and hashes them; `whole` does it for the output of commands (`--out`).
"""

import datetime
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ehr_pipeline.errors import Damaged, UserError
from ehr_pipeline.store import build_lock, durable, integrity, special_files
from ehr_pipeline.store.integrity import MANIFEST
from ehr_pipeline.typed_settings import hash_of
from ehr_pipeline.work.progress import repeated

LOOKED_EVERY = 0.2  # seconds between two looks for files that are complete
FLUSHED_AT_ONCE = 32  # a file system flushes many files at once in about the time of a few


def publish(
    recipe: str, describe: Callable[[Path], dict[str, Any]], folder: Path, build: Callable[[Path], dict[str, Any]]
) -> str:
    """Build the artifact of a recipe in a separate folder, and reveal it with its manifest. Returns its fingerprint.

    `recipe` is the recipe's fingerprint. `describe` takes the built folder and returns the manifest, to which this function
    adds the data version, counts, files, notes and times.
    """
    work = build_lock.new(folder, recipe)
    try:
        start = time.perf_counter()
        hashing = integrity.Hashing(work)
        with repeated(LOOKED_EVERY, hashing.go_on):
            try:
                counts = build(work)
            finally:
                hashing.stop()
        seconds = time.perf_counter() - start
        decided = describe(work)
        with ThreadPoolExecutor(
            FLUSHED_AT_ONCE
        ) as pool:  # so that a published artifact survives a crash of the machine
            flushed = [pool.submit(durable.flush, path) for path in work.rglob("*")]
            files, notes, states = integrity.measured(work, hashing)  # hash while the disk is busy
            for each in flushed:
                each.result()
        manifest = integrity.sealed(
            {
                **decided,
                "data_version": hash_of({path: each["sha256"] for path, each in files.items()}),
                "counts": counts,
                "files": files,
                "notes": notes,
                "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "seconds": round(seconds, 3),
            }
        )
        (work / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        durable.flush(work / MANIFEST)
        target = folder / str(manifest["fingerprint"])
        reveal(work, target)
        integrity.remember(target, states)
        return target.name
    finally:
        shutil.rmtree(work, ignore_errors=True)


def refuse_existing(out: Path, *, replace: bool = False) -> None:
    """Raise UserError if the output path of a command exists. With `replace`, it may be a file."""
    if kind := special_files.special(out):
        raise UserError(f"{out} is {kind}. Choose another file or folder.")
    if replace and out.is_dir():
        raise UserError(f"{out} is a folder. Choose a file to write.")
    if not replace and (out.exists() or out.is_symlink()):
        raise UserError(f"{out} already exists. Choose a new name, so that nothing is overwritten.")


@contextmanager
def whole(out: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield a path for writing a file or folder outside the store. At the end, it is renamed to `out`, or never appears.

    The path is in a hidden folder next to `out`, on the same disk. If the process is killed, that folder stays until the
    next command that writes there removes it. Raises UserError if `out` exists, unless it is a file and `replace` is set.
    """
    refuse_existing(out, replace=replace)
    out = out.resolve()  # if it is a link, replace its target
    with build_lock.scratch(out.parent) as work:
        part = work / out.name
        yield part
        for path in (part, *part.rglob("*")):
            durable.flush(path)
        refuse_existing(out, replace=replace)  # another command may have written it in the meantime
        part.rename(out)
        durable.flush(out.parent)


def reveal(work: Path, target: Path) -> None:
    """Rename a complete folder to its final path. This makes the artifact visible."""
    durable.flush(work)
    integrity.forget(target)
    if target.is_dir():  # left by an interrupted removal, or a damaged artifact
        shutil.rmtree(target)
    work.rename(target)
    durable.flush(target.parent)


def forget_other_populations(made: Path, manifest: Mapping[str, Any]) -> None:
    """Remove the other versions of an artifact whose population differs, and those whose manifest cannot be read."""
    for path in made.parent.glob(f"*/{MANIFEST}"):
        if path.parent == made:
            continue
        try:
            other = integrity.read_manifest(path.parent, manifest["asset"], manifest.get("partition"))
            same = other.get("population", "") == manifest.get("population", "")
        except Damaged:
            same = False
        if not same:
            remove(path.parent)


def remove(artifact: Path) -> None:
    """Remove the folder of an artifact permanently. Processes keep the files that they have memory-mapped."""
    (artifact / MANIFEST).unlink()  # remove it first: a folder without a manifest is not an artifact
    shutil.rmtree(artifact)
    integrity.forget(artifact)
