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
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ehr_pipeline import __version__, disk, workspace
from ehr_pipeline.errors import MissingArtifact, UserError, unseen
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
    "patient_trajectories": "trajectories",
    "cluster_reports": "reports",
}
KEPT_WITHOUT_CONSENT = ("encoder_checkpoint",)
"""Assets whose older versions stay when patients leave: they hold no patient. A check flags them."""
NOT_HASHED = ("notes", "quarantine")  # pictures, logs, timings; and where in the input the rejected rows stand
MANIFEST = "manifest.json"
FINGERPRINT = re.compile("[0-9a-f]{16}")
FLUSHED_TOGETHER = 32  # a file system writes many files down at once in the time of a few

# Counts of a stage: nested JSON of numbers. `rows_in`, `kept`, `collapsed` and `dropped` (by reason) must balance.
Counts = dict[str, Any]
Decided = Callable[[Path], Mapping[str, str]]
"""Reads off a filled folder what the machine that filled it decided of the result."""


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
    origin: str = ""
    """Hash of how its data came to be, whichever they are: artifacts of equal origin differ by their extracts alone."""
    governance: Mapping[str, str] = field(default_factory=dict)
    """Class and terms of use, for the manifest."""
    machine: Mapping[str, str] = field(default_factory=dict)
    """What the machine that did the work decided of it, such as the precision: known after the work only."""

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits over all that decides the result."""
        apart = ["partition", "population", "origin", "governance"]
        apart += [] if self.machine else ["machine"]
        return hash_of({key: value for key, value in asdict(self).items() if key not in apart})


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
        """Where the versions of an asset lie. Raises UserError for a partition that would lie anywhere else."""
        folder = self.root / STAGES[asset] / asset
        if partition is None:
            return folder
        if problem := partition_problem(partition):
            raise UserError(f"{partition!r} cannot be a partition of {asset}: {problem}.")
        if (folder / partition).is_symlink():
            raise UserError(
                f"{folder / partition} is a link. Put the folder itself there: what is read and removed in the store lies in it."
            )
        return folder / partition

    def partitions(self, asset: str) -> list[str]:
        """The partitions of an asset that have a current artifact, sorted."""
        folder = self.folder(asset)
        return sorted(path.parent.name for path in folder.glob("*/current")) if folder.is_dir() else []

    def current(self, asset: str, partition: str | None = None) -> Artifact:
        """The artifact that readers get. Raises MissingArtifact when there is none."""
        folder, name = self.folder(asset, partition), f"{asset} of extract {partition}" if partition else asset
        try:
            fingerprint = (folder / "current").read_text(encoding="ascii").strip()
            if not FINGERPRINT.fullmatch(fingerprint):
                raise ValueError("`current` names no artifact")
            manifest = json.loads((folder / fingerprint / MANIFEST).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise MissingArtifact(
                f"{name} has not been made yet (nothing in {folder}). Make it first, with all that it needs:"
                f' ehr-pipeline run --settings FILE --select "*{asset}"'
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(f"{name} cannot be read from {folder}: {disk.what_to_do(error)}.") from None
        return Artifact(folder / fingerprint, manifest)

    def fingerprint(self, asset: str) -> str:
        """The fingerprint of the artifact that readers get, without its manifest; empty when there is none."""
        try:
            return (self.folder(asset) / "current").read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return ""

    def published(self, asset: str) -> list[Artifact]:
        """All versions of an asset that are there, the oldest first."""
        manifests = [
            (path.parent, json.loads(path.read_text(encoding="utf-8")))
            for path in self.folder(asset).glob(f"*/{MANIFEST}")
        ]
        found = [Artifact(path, manifest) for path, manifest in manifests]
        return sorted(found, key=lambda artifact: (artifact.manifest["made_at"], artifact.manifest["fingerprint"]))

    def candidates(self, asset: str) -> list[Artifact]:
        """All versions of an asset that are there: the current one, then the others, the newest first."""
        if not self.has(asset):
            return []
        current = self.current(asset)
        others = [found for found in reversed(self.published(asset)) if found.path != current.path]
        return [current, *others]

    def has(self, asset: str, partition: str | None = None) -> bool:
        """Whether there is a current artifact."""
        return (self.folder(asset, partition) / "current").is_file()

    def make(self, recipe: Recipe, build: Callable[[Path], Counts], machine: Decided | None = None) -> Artifact:
        """Publish the artifact of a recipe, or find that it is there already.

        `build` fills an empty folder and returns the counts. If it raises, nothing is published and what was current stays.
        What `machine` tells becomes part of the fingerprint. An artifact of the same recipe is found whichever machine made it,
        also from before this was recorded: another machine makes nothing anew.
        """
        folder = self.folder(recipe.asset, recipe.partition)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with workspace.locked(folder, recipe.fingerprint):
                fingerprint = self._made(recipe, folder, machine is not None)
                skipped = bool(fingerprint)
                if not skipped:
                    fingerprint = _publish(recipe, folder, build, machine)
                target = folder / fingerprint
                manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
                disk.write_atomically(folder / "current", fingerprint, workspace.part_of(recipe.fingerprint))
                _forget(recipe.asset, fingerprint, recipe.population, folder)
        except OSError as error:
            raise UserError(
                f"{recipe.asset} could not be made in {folder}: {disk.what_to_do(error)}. Nothing was published; what was there"
                " before stays."
            ) from error
        return Artifact(target, manifest, skipped)

    def _made(self, recipe: Recipe, folder: Path, decided: bool) -> str:
        """The fingerprint of the artifact of a recipe that is there already, or ''; a machine may have `decided` of it."""
        if decided:
            for found in self.candidates(recipe.asset) or self.published(recipe.asset):
                if found.manifest.get("recipe", found.manifest["fingerprint"]) == recipe.fingerprint:
                    return str(found.manifest["fingerprint"])
        return recipe.fingerprint if (folder / recipe.fingerprint / MANIFEST).is_file() else ""

    def adopt(self, asset: str, partition: str | None, whole: Path) -> None:
        """Publish an artifact that was made elsewhere: a folder of this file system with its manifest, which goes away.

        It becomes current. Raises UserError; then nothing is published.
        """
        folder = self.folder(asset, partition)
        try:
            manifest = json.loads((whole / MANIFEST).read_text(encoding="utf-8"))
            fingerprint = manifest["fingerprint"]
            folder.mkdir(parents=True, exist_ok=True)
            with workspace.locked(folder, fingerprint):
                if not (folder / fingerprint / MANIFEST).is_file():
                    for path in whole.rglob("*"):
                        disk.flush(path)
                    _reveal(whole, folder / fingerprint)
                disk.write_atomically(folder / "current", fingerprint, workspace.part_of(fingerprint))
                _forget(asset, fingerprint, manifest["population"], folder)
        except OSError as error:
            raise UserError(
                f"{asset} could not be published in {folder}: {disk.what_to_do(error)}. What was there before stays."
            ) from error

    def retire(self, asset: str, partition: str) -> None:
        """Remove a partition for good. What readers have mapped stays with them until they end."""
        folder = self.folder(asset, partition)
        (folder / "current").unlink(missing_ok=True)  # first, so that nobody finds half of it
        shutil.rmtree(folder)


def partition_problem(name: str) -> str:
    """Why a partition (the name of an extract's folder) cannot be called so, in words; empty when it can.

    It is a folder in the store and a key in Dagster, which takes '...' for a range.
    """
    if not name or name.startswith("."):
        return "its name is empty, or begins with a dot"
    if "/" in name or "..." in name:
        return "its name holds '/' or '...'"
    if character := unseen(name):
        return f"its name holds {character}"
    return ""


def _publish(recipe: Recipe, folder: Path, build: Callable[[Path], Counts], machine: Decided | None) -> str:
    """Build in a folder of its own, flush, and rename: the moment at which readers see the artifact. Returns its fingerprint."""
    work = workspace.new(folder, recipe.fingerprint)
    try:
        start = time.perf_counter()
        counts = build(work)
        seconds = time.perf_counter() - start
        made = replace(recipe, machine=dict(machine(work)) if machine else {})
        with ThreadPoolExecutor(
            FLUSHED_TOGETHER
        ) as pool:  # so that a published artifact survives a crash of the machine
            flushed = [pool.submit(disk.flush, path) for path in work.rglob("*")]
            manifest = _manifest(work, made, counts, seconds)  # hashes while the disk is busy
            for each in flushed:
                each.result()
        manifest["recipe"] = recipe.fingerprint
        (work / MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        disk.flush(work / MANIFEST)
        _reveal(work, folder / made.fingerprint)
        return made.fingerprint
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _reveal(work: Path, target: Path) -> None:
    """Rename a whole folder to where readers look for it."""
    disk.flush(work)
    if target.is_dir():  # it has no manifest: a removal that was cut short
        shutil.rmtree(target)
    work.rename(target)
    disk.flush(target.parent)


def _forget(asset: str, fingerprint: str, population: str, folder: Path) -> None:
    """Remove the versions of an asset that were made while patients were in it who have left since."""
    if asset in KEPT_WITHOUT_CONSENT:
        return
    for path in folder.glob(f"*/{MANIFEST}"):
        if path.parent.name == fingerprint:
            continue
        if json.loads(path.read_text(encoding="utf-8")).get("population", "") != population:
            path.unlink()  # first: without it, the rest is no artifact
            shutil.rmtree(path.parent)


def _manifest(work: Path, recipe: Recipe, counts: Counts, seconds: float) -> dict[str, Any]:
    paths = list(_data_files(work))
    with ThreadPoolExecutor() as pool:
        files = dict(zip(paths, pool.map(lambda path: file_hash(work / path), paths), strict=True))
    return {
        **asdict(recipe),
        "inputs": dict(recipe.inputs),
        "governance": dict(recipe.governance),
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


def hash_of(value: Any) -> str:
    """Sixteen hex digits of the BLAKE2b of a JSON-ready value."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def unbalanced(counts: Counts) -> int:
    """Rows that the counts do not account for: in - kept - collapsed - dropped by reason. Zero when none is lost silently."""
    return int(
        counts["rows_in"] - counts["kept"] - counts.get("collapsed", 0) - sum(counts.get("dropped", {}).values())
    )
