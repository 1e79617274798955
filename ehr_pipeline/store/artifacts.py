"""Where each asset's artifact lies, and how it gets there: whole or not at all, never changed in place.

    <store>/<stage>/<asset>/[<partition>/]<fingerprint>/manifest.json + data files
    <store>/<stage>/<asset>/[<partition>/]current        the fingerprint of the artifact that readers get

The fingerprint is known before the work: the stage's version, its settings, and the data versions of its inputs. Work whose
fingerprint already lies in the store is skipped. The data version is known after it: the hash of the data files, so that
unchanged data never makes anything downstream stale. Files under `notes/` and `quarantine/` are not part of it.
"""

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ehr_pipeline import __version__
from ehr_pipeline.errors import Damaged, MissingArtifact, UserError, unseen
from ehr_pipeline.fields import hash_of as hash_of  # who asks for artifacts hashes what they are made of
from ehr_pipeline.store import build_lock, durable, integrity, publishing
from ehr_pipeline.store.integrity import MANIFEST as MANIFEST
from ehr_pipeline.tables.asset_names import ENCODER_CHECKPOINT, stage_of

KEPT_WITHOUT_CONSENT = (ENCODER_CHECKPOINT,)
"""Assets whose older versions stay when patients leave: they hold no patient. A check flags them."""
CONTINUES = "continues"
"""Input of what learnt from earlier work: the data version of the artifact that it began from."""
FINGERPRINT = re.compile("[0-9a-f]{16}")

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
    links: Mapping[str, str] = field(default_factory=dict)
    """Links among the inputs that lead outside the landing folder, and where to."""

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits over all that decides the result."""
        apart = ["partition", "population", "origin", "governance", "links"]
        apart += [] if self.machine else ["machine"]
        return hash_of({key: value for key, value in asdict(self).items() if key not in apart})

    @property
    def told(self) -> dict[str, Any]:
        """What the manifest says before anything is made."""
        return {
            **{name: value for name, value in asdict(self).items() if name != "links" or value},
            "inputs": dict(self.inputs),
            "governance": dict(self.governance),
            "stage": stage_of(self.asset),
            "fingerprint": self.fingerprint,
            "package": __version__,
        }


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
        """The files in one of its folders, in order of name: those of the manifest, whatever else lies there."""
        below = f"{folder}/"
        names = [name for name in integrity.listed(self.manifest) if name.startswith(below)]
        # Older manifests list the data alone; and what is not published has no list yet.
        if "files" not in self.manifest or (folder in integrity.NOT_HASHED and "notes" not in self.manifest):
            names = [f"{below}{path.name}" for path in (self.path / folder).glob("[!.]*") if path.is_file()]
        return [self.path / name for name in sorted(names) if "/" not in name[len(below) :]]

    def verify(self) -> None:
        """Raise Damaged unless every file is what the manifest says (`integrity`)."""
        integrity.verify(self.path, self.manifest)


class Store:
    """The folder that holds all artifacts of a study."""

    def __init__(self, root: Path | str):
        self.root = Path(root)

    def folder(self, asset: str, partition: str | None = None) -> Path:
        """Where the versions of an asset lie. Raises UserError for a partition that would lie anywhere else."""
        folder = self.root / stage_of(asset) / asset
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
        """The artifact that readers get, its files unseen: who reads more of it than its manifest asks for `intact`.

        Raises MissingArtifact when there is none, and Damaged where its manifest is not as it was written.
        """
        folder, name = self.folder(asset, partition), f"{asset} of extract {partition}" if partition else asset
        missing = f"{name} has not been made yet (nothing in {folder})"
        try:
            fingerprint = _pointer(folder)
            if not FINGERPRINT.fullmatch(fingerprint):
                raise ValueError("`current` names no artifact")
            missing = f"{name} is gone: {folder / 'current'} names {folder / fingerprint}, and nothing is there"
            manifest = integrity.read_manifest(folder / fingerprint, asset, partition)
        except FileNotFoundError:
            raise MissingArtifact(
                f"{missing}. Make it first, with all that it needs:"
                f' ehr-pipeline run --settings FILE --select "+{asset}"'
            ) from None
        except (OSError, ValueError) as error:
            if isinstance(error, Damaged):
                raise
            raise Damaged(integrity.message(asset, partition, folder / "current", durable.why(error))) from None
        return Artifact(folder / fingerprint, manifest)

    def intact(self, asset: str, partition: str | None = None) -> Artifact:
        """The artifact that readers get, every file of it what its manifest says. Raises MissingArtifact and Damaged."""
        artifact = self.current(asset, partition)
        artifact.verify()
        return artifact

    def usable(self, asset: str, partition: str | None = None) -> Artifact | None:
        """The artifact that readers get if it is there and intact: for who can do without it."""
        try:
            return self.intact(asset, partition)
        except MissingArtifact:
            return None
        except Damaged as damage:
            integrity.warn(damage)
            return None

    def fingerprint(self, asset: str, partition: str | None = None) -> str:
        """The fingerprint of the artifact that readers get, without its manifest; empty when there is none."""
        try:
            return _pointer(self.folder(asset, partition))
        except (FileNotFoundError, UnicodeDecodeError):
            return ""

    def published(self, asset: str) -> list[Artifact]:
        """All versions of an asset that are there, the oldest first."""
        found = []
        for path in self.folder(asset).glob(f"*/{MANIFEST}"):
            with contextlib.suppress(Damaged, FileNotFoundError):  # what cannot be read is no version
                found.append(Artifact(path.parent, integrity.read_manifest(path.parent, asset)))
        return sorted(found, key=lambda artifact: (artifact.manifest["made_at"], artifact.manifest["fingerprint"]))

    def candidates(self, asset: str) -> list[Artifact]:
        """All versions of an asset that are there: the current one, then the others, the newest first."""
        current = self.folder(asset) / self.fingerprint(asset)
        newest_first = list(reversed(self.published(asset)))
        return sorted(newest_first, key=lambda found: found.path != current)

    def has(self, asset: str, partition: str | None = None) -> bool:
        """Whether there is a current artifact, intact or not."""
        name = self.fingerprint(asset, partition)
        return bool(FINGERPRINT.fullmatch(name)) and (self.folder(asset, partition) / name / MANIFEST).is_file()

    def make(self, recipe: Recipe, build: Callable[[Path], Counts], machine: Decided | None = None) -> Artifact:
        """Publish the artifact of a recipe, or find that it is there already.

        `build` fills an empty folder and returns the counts. If it raises, nothing is published and what was current stays.
        What `machine` tells becomes part of the fingerprint. An artifact of the same recipe is found whichever machine made it,
        also from before this was recorded: another machine makes nothing anew. One that is there but damaged is made again.
        """
        folder, damage = self.folder(recipe.asset, recipe.partition), ""

        def told(work: Path) -> dict[str, Any]:
            made = replace(recipe, machine=dict(machine(work)) if machine else {})
            return made.told | {"recipe": recipe.fingerprint}

        try:
            folder.mkdir(parents=True, exist_ok=True)
            build_lock.sweep(self.root)  # what commands that were killed left there
            with build_lock.locked(folder, recipe.fingerprint):
                fingerprint, damage = self._made(recipe, folder, machine is not None)
                skipped = bool(fingerprint)
                if not skipped:
                    fingerprint = publishing.publish(recipe.fingerprint, told, folder, build)
                target = folder / fingerprint
                manifest = integrity.read_manifest(target, recipe.asset, recipe.partition)
                durable.write_atomically(folder / "current", fingerprint, build_lock.part_of(recipe.fingerprint))
                _forget(Artifact(target, manifest))
        except UserError as error:
            raise (Damaged(f"{damage}. To make it again failed: {error}") if damage else error) from error
        except OSError as error:
            raise UserError(
                f"{recipe.asset} could not be made in {folder}: {durable.what_to_do(error)}. Nothing was published; what was there"
                " before stays."
            ) from error
        return Artifact(target, manifest, skipped)

    def _made(self, recipe: Recipe, folder: Path, decided: bool) -> tuple[str, str]:
        """The fingerprint of the intact artifact of a recipe, or '' and what is wrong with one that is damaged.

        A machine may have `decided` of it.
        """
        names, damage = [recipe.fingerprint], ""
        if decided:
            known = [found.manifest for found in self.candidates(recipe.asset)]
            alike = [one for one in known if one.get("recipe", one["fingerprint"]) == recipe.fingerprint]
            names = [*(one["fingerprint"] for one in alike), *names]
        for name in names:
            intact, wrong = integrity.is_intact(folder / name, recipe.asset, recipe.partition)
            if intact:
                return name, ""
            damage = damage or wrong
        return "", damage

    def adopt(self, asset: str, partition: str | None, whole: Path) -> None:
        """Publish an artifact that was made elsewhere: a folder of this file system with its manifest, which goes away.

        It becomes current. Raises UserError; then nothing is published.
        """
        folder = self.folder(asset, partition)
        try:
            fingerprint = json.loads((whole / MANIFEST).read_text(encoding="utf-8"))["fingerprint"]
            folder.mkdir(parents=True, exist_ok=True)
            with build_lock.locked(folder, fingerprint):
                if not integrity.is_intact(folder / fingerprint, asset, partition)[0]:
                    for path in whole.rglob("*"):
                        durable.flush(path)
                    publishing.reveal(whole, folder / fingerprint)
                durable.write_atomically(folder / "current", fingerprint, build_lock.part_of(fingerprint))
                manifest = integrity.read_manifest(folder / fingerprint, asset, partition)
                _forget(Artifact(folder / fingerprint, manifest))
        except OSError as error:
            raise UserError(
                f"{asset} could not be published in {folder}: {durable.what_to_do(error)}. What was there before stays."
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


def _forget(made: Artifact) -> None:
    """Remove the versions of an asset that were made while patients were in it who have left since."""
    if made.manifest["asset"] not in KEPT_WITHOUT_CONSENT:
        publishing.forget_other_populations(made.path, made.manifest)


def unbalanced(counts: Counts) -> int:
    """Rows that the counts do not account for: in - kept - collapsed - dropped by reason. Zero when none is lost silently."""
    return int(
        counts["rows_in"] - counts["kept"] - counts.get("collapsed", 0) - sum(counts.get("dropped", {}).values())
    )


def _pointer(folder: Path) -> str:
    """What `current` says. It is looked for before it is opened: sensors ask for every extract, and open no file."""
    pointer = folder / "current"
    if not pointer.is_file():
        raise FileNotFoundError(pointer)
    return pointer.read_text(encoding="ascii").strip()
