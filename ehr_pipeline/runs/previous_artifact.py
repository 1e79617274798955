"""Choose the previous artifact that a new one continues: same asset, made in the same way, from other extracts.

"Made in the same way" means the same `Recipe.origin`: a hash of the versions and settings of everything upstream,
without the names of extracts. A changed setting or terminology changes the origin, and then nothing is continued. The
inputs record the previous artifact as `continues`, so the fingerprint covers all that decides the result.

If an artifact differs in its recipe only by `continues`, it is reused, whether or not it is the current one. Otherwise
a repeated run could give another result, and undoing a change of settings would not restore the earlier result.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.assets.asset import Asset
from ehr_pipeline.errors import Damaged, MissingArtifact
from ehr_pipeline.store import integrity
from ehr_pipeline.store.artifacts import CONTINUES, Artifact, Store, hash_of
from ehr_pipeline.study.settings import Study
from ehr_pipeline.vocabulary.table import read_hash

EARLIER = "earlier"
"""Input of the clusters: the previous clusters, from which they take their numbers and with which they are compared."""
NOT_OF_THE_METHOD = ("withdrawals", "latest_date")
"""Settings of `raw_records` that determine which patients and dates are kept, but not how records are read."""


def origin_of(*parts: Any) -> str:
    """Return a hash of everything that determines the data."""
    return hash_of(parts)


def method_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of `raw_records` that determine how records are read."""
    return {name: value for name, value in settings.items() if name not in NOT_OF_THE_METHOD}


@dataclass(frozen=True)
class Case:
    """An asset that is about to be made from `inputs` (data versions by name)."""

    store: Store
    study: Study
    asset: Asset
    inputs: dict[str, str]
    origin: str

    @property
    def does(self) -> str:
        """The effect of a new extract on the model (`encoder.on_new_extract`)."""
        return self.study.encoder.on_new_extract

    def sound(self, artifact: Artifact) -> bool:
        """Return whether an artifact may be continued: it passes the checks in `Asset.sound`."""
        return all(self.passes(name, artifact) for name in self.asset.sound)

    def passes(self, check: str, artifact: Artifact) -> bool:
        """Return whether an artifact passes a check."""
        return self.asset.passes(check, artifact, self.store, self.study)

    def same_recipe(self, *apart: str) -> Artifact | None:
        """Return an intact artifact with the same version, settings and inputs, except the inputs named in `apart`; or None."""
        wanted = self.asset.version, self.asset.deciding_settings(self.study), self.inputs
        for artifact in self.store.candidates(self.asset.name):
            manifest = artifact.manifest
            inputs = {name: value for name, value in manifest["inputs"].items() if name not in apart}
            if (manifest["version"], manifest["settings"], inputs) == wanted and _intact(artifact):
                return artifact
        return None

    def same_origin(self) -> list[Artifact]:
        """Return the intact artifacts of the same version and origin: the current one, then the others, newest first."""
        wanted = self.asset.version, self.origin
        candidates = self.store.candidates(self.asset.name)
        alike = (one for one in candidates if (one.manifest["version"], one.manifest.get("origin")) == wanted)
        return [one for one in alike if _intact(one)]


Choice = tuple[dict[str, str], Artifact | None]
"""The inputs of an asset, with `continues` if it continues an earlier artifact; and the artifact to start from, or None."""


def vocabulary(case: Case) -> Choice:
    """Choose what the vocabulary continues: it appends to the longest vocabulary of the same origin."""
    alike = case.same_origin()
    if not alike:
        return case.inputs, None
    longest = max(alike, key=lambda artifact: int(artifact.counts["kept"]))
    again = case.same_recipe(CONTINUES)
    if again is not None and _ids_of(again) == _ids_of(longest):
        return again.manifest["inputs"], None
    return case.inputs | {CONTINUES: _ids_of(longest)}, longest


def encoder(case: Case) -> Choice:
    """Choose what the encoder continues: keep it, start training from the weights of a previous one, or train from scratch."""
    if case.does == "retrain":
        return case.inputs, None
    usable = next((artifact for artifact in case.same_origin() if case.sound(artifact)), None)
    if case.does == "embed":
        return usable.manifest["inputs"] if usable else case.inputs, None
    again = case.same_recipe(CONTINUES)
    if again is not None and case.sound(again):
        return again.manifest["inputs"], None
    # Weights learned from patients who have left are not passed on.
    if usable is None or not case.passes("patients_present", usable):
        return case.inputs, None
    return case.inputs | {CONTINUES: usable.data_version}, usable


def space(case: Case, *apart: str) -> Choice:
    """Choose what vectors or clusters continue from: the previous ones if new extracts are only embedded, otherwise nothing."""
    if case.does != "embed":
        return case.inputs, None
    again = case.same_recipe(CONTINUES, *apart)
    if again is not None:
        return again.manifest["inputs"], None
    found = next((one for one in case.same_origin() if case.sound(one)), None)
    return (case.inputs | {CONTINUES: found.data_version} if found else case.inputs), found


def clusters(case: Case) -> tuple[dict[str, str], Artifact | None, Artifact | None]:
    """Return the inputs of the clusters; the clusters to add to, or None; and the current clusters, or None.

    New clusters take their numbers from the current clusters, and are compared with them.
    """
    inputs, clustered = space(case, EARLIER)
    if clustered or CONTINUES in inputs or EARLIER in inputs or not case.store.has(case.asset.name):
        return inputs, clustered, None
    again = case.same_recipe(EARLIER)
    if again is not None:
        return again.manifest["inputs"], None, None
    current = case.store.usable(case.asset.name)
    if current is None:  # damaged: make the clusters as if there were no current ones
        return inputs, None, None
    if current.manifest["version"] != case.asset.version:  # its format may differ from this version's
        return inputs, None, None
    return inputs | {EARLIER: current.data_version}, None, current


def previous(asset: str, store: Store, partition: str | None = None) -> Artifact | None:
    """Return the current artifact, if it was made by the same version of the stage; else None. Its files are not verified."""
    try:
        current = store.current(asset, partition)
    except (MissingArtifact, Damaged):
        return None
    return current if current.manifest["version"] == ASSETS[asset].version else None


def reusable(asset: str, store: Store, partition: str | None = None) -> Artifact | None:
    """Do as `previous`, but verify the artifact: unchanged buckets are copied from it, and damage must not be copied with them."""
    return store.usable(asset, partition) if previous(asset, store, partition) else None


def _intact(artifact: Artifact) -> bool:
    """Return whether the files of an artifact match its manifest; logs a warning if not."""
    try:
        artifact.verify()
    except Damaged as damage:
        integrity.warn(damage)
        return False
    return True


def _ids_of(vocabulary: Artifact) -> str:
    """Return the hash of a vocabulary's concepts in the order of their token ids."""
    return read_hash(vocabulary.path)
