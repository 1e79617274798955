"""Store artifacts: each is published completely or not at all, and never changed in place.

    <store>/<stage>/<asset>/[<partition>/]<fingerprint>/manifest.json + data files
    <store>/<stage>/<asset>/[<partition>/]current        the fingerprint of the current artifact: readers get this one

The fingerprint is known before an artifact is made. It is a hash of the stage's version, its settings, and the data versions of its
inputs. If the store already has this fingerprint, the work is skipped. The data version is known only afterwards. It is a hash of
the data files (without those in the folders `integrity.NOT_HASHED`), so unchanged data make nothing downstream stale."""

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ehr_pipeline import __version__
from ehr_pipeline.errors import Damaged, MissingArtifact, UserError, invisible_character
from ehr_pipeline.store import build_lock, durable, integrity, publishing
from ehr_pipeline.store.integrity import MANIFEST as MANIFEST
from ehr_pipeline.tables.asset_names import ENCODER_CHECKPOINT, stage_of
from ehr_pipeline.typed_settings import hash_of as hash_of  # re-exported for callers that hash the inputs of artifacts

KEPT_WITHOUT_CONSENT = (ENCODER_CHECKPOINT,)
"""Assets without patient data: older versions are kept when patients withdraw. A check warns about them."""
CONTINUES = "continues"
"""Name of the input with the data version of the artifact from which an asset continued."""
FINGERPRINT = re.compile("[0-9a-f]{16}")

# Counts of a stage: nested JSON of numbers. `rows_in`, `added`, `kept`, `collapsed` and `dropped` (by reason) must balance.
Counts = dict[str, Any]
Decided = Callable[[Path], Mapping[str, str]]
"""Returns the properties of the result in a folder that depended on the machine."""


@dataclass(frozen=True)
class Recipe:
    """Everything that determines an artifact. All but `machine` is known before the artifact is built."""

    asset: str
    version: str
    """Version of the stage's code, raised whenever the same input would give a different result."""
    settings: Any
    """The settings that affect the result (`typed_settings.identity`)."""
    inputs: Mapping[str, str]
    """Data versions of the inputs."""
    partition: str | None = None
    population: str = ""
    """Identifies the patients whose data it may contain. Changes when patients withdraw or are missing from a newer snapshot."""
    origin: str = ""
    """Hash of everything but the data. Artifacts of equal origin differ only in their extracts."""
    governance: Mapping[str, str] = field(default_factory=dict)
    """Class and terms of use, for the manifest."""
    machine: Mapping[str, str] = field(default_factory=dict)
    """Properties that depend on the machine, such as the precision. Known only after the work."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Input files that are links to outside the landing folder, each with its target."""

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits: a hash of everything that affects the result."""
        apart = ["partition", "population", "origin", "governance", "links"]
        apart += [] if self.machine else ["machine"]
        return hash_of({key: value for key, value in asdict(self).items() if key not in apart})

    @property
    def manifest(self) -> dict[str, Any]:
        """The part of the manifest that is known before the artifact is built."""
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
    """Whether the work was skipped because the artifact already existed."""

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
        """Return the path of one of the artifact's files."""
        return self.path / name

    def digest(self, name: str) -> str:
        """Return the SHA-256 of one of the artifact's data files."""
        return str(self.manifest["files"][name]["sha256"])

    def files(self, folder: str) -> list[Path]:
        """Return the files in one of the artifact's folders, sorted by name. Files missing from the manifest are ignored."""
        below = f"{folder}/"
        names = [name for name in integrity.listed(self.manifest) if name.startswith(below)]
        # Older manifests list only the data files, and an artifact that is not published yet has no list.
        if "files" not in self.manifest or (folder in integrity.NOT_HASHED and "notes" not in self.manifest):
            names = [f"{below}{path.name}" for path in (self.path / folder).glob("[!.]*") if path.is_file()]
        return [self.path / name for name in sorted(names) if "/" not in name[len(below) :]]

    def verify(self) -> None:
        """Raise Damaged unless every file matches the manifest (`integrity`)."""
        integrity.verify(self.path, self.manifest)


class Store:
    """The folder with all artifacts of a study."""

    def __init__(self, root: Path | str):
        self.root = Path(root)

    def folder(self, asset: str, partition: str | None = None) -> Path:
        """Return the folder with the versions of an asset. Raises UserError for a partition outside it."""
        folder = self.root / stage_of(asset) / asset
        if partition is None:
            return folder
        if problem := partition_problem(partition):
            raise UserError(f"{partition!r} cannot be a partition of {asset}: {problem}.")
        if (folder / partition).is_symlink():
            raise UserError(
                f"{folder / partition} is a link. Put the folder itself there: the store must not read or remove files elsewhere."
            )
        return folder / partition

    def partitions(self, asset: str) -> list[str]:
        """Return the partitions of an asset with a current artifact, sorted."""
        folder = self.folder(asset)
        return sorted(path.parent.name for path in folder.glob("*/current")) if folder.is_dir() else []

    def current(self, asset: str, partition: str | None = None) -> Artifact:
        """Return the current artifact without checking its files. To read more than the manifest, use `intact`.

        Raises MissingArtifact if there is none, and Damaged if its manifest has changed since it was written.
        """
        folder, name = self.folder(asset, partition), f"{asset} of extract {partition}" if partition else asset
        missing = f"{name} has not been built yet (nothing in {folder})"
        try:
            fingerprint = _pointer(folder)
            if not FINGERPRINT.fullmatch(fingerprint):
                raise ValueError("`current` names no artifact")
            missing = f"{name} is gone: {folder / 'current'} points to {folder / fingerprint}, which does not exist"
            manifest = integrity.read_manifest(folder / fingerprint, asset, partition)
        except FileNotFoundError:
            raise MissingArtifact(
                f"{missing}. Build it first, with everything upstream:"
                f' ehr-pipeline run --settings FILE --select "+{asset}"'
            ) from None
        except (OSError, ValueError) as error:
            if isinstance(error, Damaged):
                raise
            raise Damaged(integrity.message(asset, partition, folder / "current", durable.why(error))) from None
        return Artifact(folder / fingerprint, manifest)

    def intact(self, asset: str, partition: str | None = None) -> Artifact:
        """Return the current artifact, after checking every file against its manifest. Raises MissingArtifact and Damaged."""
        artifact = self.current(asset, partition)
        artifact.verify()
        return artifact

    def usable(self, asset: str, partition: str | None = None) -> Artifact | None:
        """Return the current artifact if it exists and is intact, otherwise None."""
        try:
            return self.intact(asset, partition)
        except MissingArtifact:
            return None
        except Damaged as damage:
            integrity.warn(damage)
            return None

    def fingerprint(self, asset: str, partition: str | None = None) -> str:
        """Return the fingerprint of the current artifact without reading its manifest; empty if there is none."""
        try:
            return _pointer(self.folder(asset, partition))
        except (FileNotFoundError, UnicodeDecodeError):
            return ""

    def published(self, asset: str) -> list[Artifact]:
        """Return all versions of an asset in the store, oldest first."""
        versions = []
        for path in self.folder(asset).glob(f"*/{MANIFEST}"):
            with contextlib.suppress(Damaged, FileNotFoundError):  # skip versions that cannot be read
                versions.append(Artifact(path.parent, integrity.read_manifest(path.parent, asset)))
        return sorted(versions, key=lambda artifact: (artifact.manifest["made_at"], artifact.manifest["fingerprint"]))

    def candidates(self, asset: str) -> list[Artifact]:
        """Return all versions of an asset in the store: first the current one, then the others, newest first."""
        current = self.folder(asset) / self.fingerprint(asset)
        newest_first = list(reversed(self.published(asset)))
        return sorted(newest_first, key=lambda version: version.path != current)

    def has(self, asset: str, partition: str | None = None) -> bool:
        """Return whether there is a current artifact, intact or not."""
        name = self.fingerprint(asset, partition)
        return bool(FINGERPRINT.fullmatch(name)) and (self.folder(asset, partition) / name / MANIFEST).is_file()

    def make(self, recipe: Recipe, build: Callable[[Path], Counts], machine: Decided | None = None) -> Artifact:
        """Publish the artifact of a recipe, or return the existing one.

        `build` fills an empty folder and returns the counts. If it raises, nothing is published and the current
        artifact stays. The properties that `machine` returns become part of the fingerprint. But an existing artifact of
        the same recipe is used whichever machine made it, even if no machine was recorded, so that another machine
        rebuilds nothing. A damaged artifact is rebuilt.
        """
        folder, damage = self.folder(recipe.asset, recipe.partition), ""

        def describe(work: Path) -> dict[str, Any]:
            made = replace(recipe, machine=dict(machine(work)) if machine else {})
            return made.manifest | {"recipe": recipe.fingerprint}

        try:
            folder.mkdir(parents=True, exist_ok=True)
            build_lock.sweep(self.root)  # remove leftovers of killed commands
            with build_lock.locked(folder, recipe.fingerprint):
                fingerprint, damage = self._find_intact(recipe, folder, machine is not None)
                skipped = bool(fingerprint)
                if not skipped:
                    fingerprint = publishing.publish(recipe.fingerprint, describe, folder, build)
                target = folder / fingerprint
                manifest = integrity.read_manifest(target, recipe.asset, recipe.partition)
                durable.write_atomically(folder / "current", fingerprint, build_lock.part_of(recipe.fingerprint))
                _forget(Artifact(target, manifest))
        except UserError as error:
            raise (Damaged(f"{damage}. Rebuilding it failed: {error}") if damage else error) from error
        except OSError as error:
            raise UserError(
                f"{recipe.asset} could not be built in {folder}: {durable.what_to_do(error)}. Nothing was published; the previous"
                " artifact is unchanged."
            ) from error
        return Artifact(target, manifest, skipped)

    def find_intact(self, recipe: Recipe, decided: bool) -> str:
        """Return the fingerprint of a recipe's intact artifact, current or not; empty if there is none. For `decided` see
        `_find_intact`."""
        return self._find_intact(recipe, self.folder(recipe.asset, recipe.partition), decided)[0]

    def _find_intact(self, recipe: Recipe, folder: Path, decided: bool) -> tuple[str, str]:
        """Return the fingerprint of a recipe's intact artifact, and the problem of a damaged one; each may be empty.

        `decided` says that the fingerprint depends on the machine. Then all artifacts of the same recipe are searched.
        """
        names, damage = [recipe.fingerprint], ""
        if decided:
            known = [version.manifest for version in self.candidates(recipe.asset)]
            alike = [one for one in known if one.get("recipe", one["fingerprint"]) == recipe.fingerprint]
            names = [*(one["fingerprint"] for one in alike), *names]
        for name in names:
            intact, wrong = integrity.is_intact(folder / name, recipe.asset, recipe.partition)
            if intact:
                return name, ""
            damage = damage or wrong
        return "", damage

    def adopt(self, asset: str, partition: str | None, whole: Path) -> None:
        """Publish an artifact that was built elsewhere, and make it current.

        `whole` is the artifact's folder with its manifest, on this file system; it is moved. After a UserError, nothing is
        published.
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
                f"{asset} could not be published in {folder}: {durable.what_to_do(error)}. The previous artifact is unchanged."
            ) from error

    def retire(self, asset: str, partition: str) -> None:
        """Remove a partition permanently. Processes keep the files that they have memory-mapped."""
        folder = self.folder(asset, partition)
        (folder / "current").unlink(missing_ok=True)  # first, so that no reader finds a half-removed artifact
        shutil.rmtree(folder)


def partition_problem(name: str) -> str:
    """Return why a name cannot be that of a partition (an extract's folder); empty if it can.

    The name becomes a folder in the store, and a partition key in Dagster, which reads '...' as a range.
    """
    if not name or name.startswith("."):
        return "its name is empty, or begins with a dot"
    if "/" in name or "..." in name:
        return "its name holds '/' or '...'"
    if character := invisible_character(name):
        return f"its name holds {character}"
    return ""


def _forget(made: Artifact) -> None:
    """Remove the versions of an asset for another population, such as before some patients withdrew."""
    if made.manifest["asset"] not in KEPT_WITHOUT_CONSENT:
        publishing.forget_other_populations(made.path, made.manifest)


def unbalanced(counts: Counts) -> int:
    """Return the number of unexplained rows: in + added - kept - collapsed - dropped. It must be zero."""
    came = counts["rows_in"] + counts.get("added", 0)
    return int(came - counts["kept"] - counts.get("collapsed", 0) - sum(counts.get("dropped", {}).values()))


def _pointer(folder: Path) -> str:
    """Return the content of `current`. Checks that the file exists before opening it: sensors call this for every extract."""
    pointer = folder / "current"
    if not pointer.is_file():
        raise FileNotFoundError(pointer)
    return pointer.read_text(encoding="ascii").strip()
