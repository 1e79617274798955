"""Where each asset's artifact lies, and how it gets there: whole or not at all, never changed in place.

    <store>/<stage>/<asset>/[<partition>/]<fingerprint>/manifest.json + data files
    <store>/<stage>/<asset>/[<partition>/]current        the fingerprint of the artifact that readers get

The fingerprint is known before the work: the stage's version, its settings, and the data versions of its inputs. Work whose
fingerprint already lies in the store is skipped. The data version is known after it: the hash of the data files, so that
unchanged data never makes anything downstream stale. Files under `notes/` and `quarantine/` are not part of it.
"""

import datetime
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ehr_pipeline import __version__
from ehr_pipeline.errors import MissingArtifact, UserError
from ehr_pipeline.fields import file_hash

# The stage (package folder) of every asset, in the order of the chain.
STAGES = {
    "raw_records": "records",
    "extract_catalog": "records",
    "mapped_events": "events",
    "vocabulary": "vocabulary",
    "patient_dataset": "patients",
    "data_split": "patients",
    "encoder_checkpoint": "encoder",
    "concept_embeddings": "concepts",
    "cohort": "embeddings",
    "patient_embeddings": "embeddings",
    "clusters": "clusters",
    "cluster_reports": "reports",
}
KEPT_WITHOUT_CONSENT = ("encoder_checkpoint",)
"""Assets whose older versions stay when patients leave: they hold no patient. A check flags them."""
NOT_HASHED = ("notes", "quarantine")  # pictures, logs, timings; and where in the input the rejected rows stand
MANIFEST = "manifest.json"

# Counts of a stage: nested JSON of numbers. `rows_in`, `kept`, `collapsed` and `dropped` (by reason) must balance.
Counts = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """Everything that decides an artifact before it is made."""

    asset: str
    version: str
    """Version of the stage's code: raised when the same input gives another result."""
    settings: Any
    """The settings that decide the result (`fields.identity`)."""
    inputs: Mapping[str, str]
    """Data versions of the inputs."""
    partition: str | None = None
    population: str = ""
    """Whose data may be in it: changes when patients withdraw, or are no longer in a newer snapshot."""

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits over all that decides the result."""
        return hash_of({key: value for key, value in asdict(self).items() if key not in ("partition", "population")})


@dataclass(frozen=True)
class Artifact:
    """A published artifact."""

    path: Path
    manifest: dict[str, Any] = field(repr=False)
    skipped: bool = False
    """True when the work was not done again, because the artifact was there already."""

    @property
    def data_version(self) -> str:
        """Hash of the data files."""
        return str(self.manifest["data_version"])

    @property
    def counts(self) -> Counts:
        """Row counts of the stage."""
        counts: Counts = self.manifest["counts"]
        return counts

    def file(self, name: str) -> Path:
        """The path of one of its files."""
        return self.path / name

    def digest(self, name: str) -> str:
        """SHA-256 of one of its data files."""
        return str(self.manifest["files"][name]["sha256"])

    def files(self, folder: str) -> list[Path]:
        """The files in one of its folders, in order of name."""
        return sorted(path for path in (self.path / folder).iterdir() if path.is_file())


class Store:
    """The folder that holds all artifacts of a study."""

    def __init__(self, root: Path | str):
        self.root = Path(root)

    def folder(self, asset: str, partition: str | None = None) -> Path:
        """Where the versions of an asset lie."""
        folder = self.root / STAGES[asset] / asset
        return folder / partition if partition else folder

    def partitions(self, asset: str) -> list[str]:
        """The partitions of an asset that have a current artifact, sorted."""
        folder = self.folder(asset)
        return sorted(path.parent.name for path in folder.glob("*/current")) if folder.is_dir() else []

    def current(self, asset: str, partition: str | None = None) -> Artifact:
        """The artifact that readers get. Raises MissingArtifact when there is none."""
        folder = self.folder(asset, partition)
        try:
            fingerprint = (folder / "current").read_text(encoding="ascii").strip()
            manifest = json.loads((folder / fingerprint / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            name = f"{asset} of extract {partition}" if partition else asset
            raise MissingArtifact(
                f"{name} has not been made yet (nothing in {folder}). Materialise it first: ehr-pipeline run --select {asset}"
            ) from None
        return Artifact(folder / fingerprint, manifest)

    def has(self, asset: str, partition: str | None = None) -> bool:
        """Whether there is a current artifact."""
        return (self.folder(asset, partition) / "current").is_file()

    def make(self, recipe: Recipe, build: Callable[[Path], Counts]) -> Artifact:
        """Publish the artifact of a recipe, or find that it is there already.

        `build` fills an empty folder and returns the counts. If it raises, nothing is published and what was current stays.
        """
        folder = self.folder(recipe.asset, recipe.partition)
        target = folder / recipe.fingerprint
        if (target / MANIFEST).is_file():
            manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
            write_atomically(folder / "current", recipe.fingerprint)
            _forget(recipe, folder)
            return Artifact(target, manifest, skipped=True)
        folder.mkdir(parents=True, exist_ok=True)
        work = folder / f".making-{recipe.fingerprint}-{uuid.uuid4().hex[:8]}"
        work.mkdir()
        try:
            start = time.perf_counter()
            counts = build(work)
            seconds = time.perf_counter() - start
            manifest = _manifest(work, recipe, counts, seconds)
            (work / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
            _sync(work)
            _move(work, target)
        except OSError as error:
            raise UserError(
                f"{recipe.asset} could not be written to {folder}: {error.strerror or error}. Nothing was published."
            ) from error
        finally:
            shutil.rmtree(work, ignore_errors=True)
        write_atomically(folder / "current", recipe.fingerprint)
        _forget(recipe, folder)
        return Artifact(target, manifest)

    def retire(self, asset: str, partition: str) -> None:
        """Remove a partition for good. What readers have mapped stays with them until they end."""
        folder = self.folder(asset, partition)
        (folder / "current").unlink(missing_ok=True)  # first, so that nobody finds half of it
        shutil.rmtree(folder)


def _forget(recipe: Recipe, folder: Path) -> None:
    """Remove the versions of an asset that were made while patients were in it who have left since."""
    if recipe.asset in KEPT_WITHOUT_CONSENT:
        return
    for path in folder.glob(f"*/{MANIFEST}"):
        if path.parent.name == recipe.fingerprint:
            continue
        if json.loads(path.read_text(encoding="utf-8")).get("population", "") != recipe.population:
            path.unlink()  # first: without it, the rest is no artifact
            shutil.rmtree(path.parent)


def _manifest(work: Path, recipe: Recipe, counts: Counts, seconds: float) -> dict[str, Any]:
    paths = list(_data_files(work))
    with ThreadPoolExecutor() as pool:
        files = dict(zip(paths, pool.map(lambda path: file_hash(work / path), paths), strict=True))
    return {
        **asdict(recipe),
        "inputs": dict(recipe.inputs),
        "stage": STAGES[recipe.asset],
        "fingerprint": recipe.fingerprint,
        "data_version": hash_of(files),
        "counts": counts,
        "files": {path: {"bytes": (work / path).stat().st_size, "sha256": digest} for path, digest in files.items()},
        "package": __version__,
        "made_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
    }


def _data_files(work: Path) -> Iterator[str]:
    for path in sorted(work.rglob("*")):
        relative = path.relative_to(work)
        if path.is_file() and relative.parts[0] not in NOT_HASHED:
            yield relative.as_posix()


def _sync(work: Path) -> None:
    """Flush files and folders to disk, so that a published artifact survives a crash of the machine."""
    for path in [work, *work.rglob("*")]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _move(work: Path, target: Path) -> None:
    try:
        work.rename(target)
    except OSError:
        if not (
            target / MANIFEST
        ).is_file():  # otherwise another run published the same recipe first, which serves as well
            raise


def write_atomically(path: Path, text: str) -> None:
    """Replace a small file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def hash_of(value: Any) -> str:
    """Sixteen hex digits of the BLAKE2b of a JSON-ready value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def input_state(paths: list[Path], root: Path) -> str:
    """The state of large inputs, by relative name, size and time of change: they are never read just to be hashed."""
    states = [
        (path.relative_to(root).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(paths)
    ]
    return hash_of(states)


def unbalanced(counts: Counts) -> int:
    """Rows that the counts do not account for: in - kept - collapsed - dropped by reason. Zero when none is lost silently."""
    return int(
        counts["rows_in"] - counts["kept"] - counts.get("collapsed", 0) - sum(counts.get("dropped", {}).values())
    )
