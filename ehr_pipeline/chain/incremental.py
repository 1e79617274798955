"""What an artifact goes on from: an earlier one of its kind, whose data came to be in the same way, of other extracts.

`Recipe.origin` tells that: a hash of the versions and settings of everything before it, without what names the extracts. A changed
setting, or another terminology, gives another origin, and then nothing is gone on from. What is gone on from stands among the
inputs as `continues`, so that the fingerprint names all that decides the result.

An artifact of the same recipe but for that is found again, wherever it lies in the store: otherwise no run would ever be the same
twice, and a setting that is set back would not give what it gave before.
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
"""Input of the clusters: the artifact that gave them numbers, and that they are compared with."""
NOT_OF_THE_METHOD = ("withdrawals", "latest_date")
"""Settings of `raw_records` that say whose data there are, and until when, not how they are read."""


def origin(*parts: Any) -> str:
    """The hash of what decides how data come to be."""
    return hash_of(parts)


def method_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `raw_records` that say how records are read."""
    return {name: value for name, value in settings.items() if name not in NOT_OF_THE_METHOD}


@dataclass(frozen=True)
class Case:
    """An asset that is about to be made, of `inputs` (data versions by name)."""

    store: Store
    study: Study
    asset: Asset
    inputs: dict[str, str]
    origin: str

    @property
    def does(self) -> str:
        """What a new extract does."""
        return self.study.encoder.on_new_extract

    def sound(self, found: Artifact) -> bool:
        """Whether an artifact may be gone on from."""
        return all(self.passes(name, found) for name in self.asset.sound)

    def passes(self, check: str, found: Artifact) -> bool:
        """Whether an artifact passes a check."""
        return self.asset.passes(check, found, self.store, self.study)

    def same_recipe(self, *apart: str) -> Artifact | None:
        """An intact artifact of the same version, settings and inputs, whatever it has under the inputs named `apart`."""
        wanted = self.asset.version, self.asset.own_settings(self.study), self.inputs
        for found in self.store.candidates(self.asset.name):
            manifest = found.manifest
            inputs = {name: value for name, value in manifest["inputs"].items() if name not in apart}
            if (manifest["version"], manifest["settings"], inputs) == wanted and _intact(found):
                return found
        return None

    def same_origin(self) -> list[Artifact]:
        """Intact artifacts of the same version and origin, the current one before the others."""
        own = self.asset.version, self.origin
        found = self.store.candidates(self.asset.name)
        alike = (one for one in found if (one.manifest["version"], one.manifest.get("origin")) == own)
        return [one for one in alike if _intact(one)]


Choice = tuple[dict[str, str], Artifact | None]
"""The inputs of an asset, with what it goes on from if that decides it; and the artifact that it is made from, if it is made."""


def vocabulary(case: Case) -> Choice:
    """The vocabulary is appended to the longest list of the same origin."""
    alike = case.same_origin()
    if not alike:
        return case.inputs, None
    longest = max(alike, key=lambda found: int(found.counts["kept"]))
    again = case.same_recipe(CONTINUES)
    if again is not None and _ids_of(again) == _ids_of(longest):
        return again.manifest["inputs"], None
    return case.inputs | {CONTINUES: _ids_of(longest)}, longest


def encoder(case: Case) -> Choice:
    """The encoder stays, or its training begins with an earlier one's weights, or from none."""
    if case.does == "retrain":
        return case.inputs, None
    usable = next((found for found in case.same_origin() if case.sound(found)), None)
    if case.does == "embed":
        return usable.manifest["inputs"] if usable else case.inputs, None
    again = case.same_recipe(CONTINUES)
    if again is not None and case.sound(again):
        return again.manifest["inputs"], None
    # What was learnt from patients who have left is not handed on.
    if usable is None or not case.passes("patients_present", usable):
        return case.inputs, None
    return case.inputs | {CONTINUES: usable.data_version}, usable


def space(case: Case, *apart: str) -> Choice:
    """Vectors and clusters are added to, where new extracts are only embedded."""
    if case.does != "embed":
        return case.inputs, None
    again = case.same_recipe(CONTINUES, *apart)
    if again is not None:
        return again.manifest["inputs"], None
    found = next((one for one in case.same_origin() if case.sound(one)), None)
    return (case.inputs | {CONTINUES: found.data_version} if found else case.inputs), found


def clusters(case: Case) -> tuple[dict[str, str], Artifact | None, Artifact | None]:
    """The inputs of the clusters; those that they are added to; or the current ones, which number them and are compared with."""
    inputs, clustered = space(case, EARLIER)
    if clustered or CONTINUES in inputs or EARLIER in inputs or not case.store.has(case.asset.name):
        return inputs, clustered, None
    again = case.same_recipe(EARLIER)
    if again is not None:
        return again.manifest["inputs"], None, None
    current = case.store.usable(case.asset.name)
    if current is None:  # damaged: it is made as if there were none
        return inputs, None, None
    if current.manifest["version"] != case.asset.version:  # it may not tell its numbers in this version's way
        return inputs, None, None
    return inputs | {EARLIER: current.data_version}, None, current


def previous(asset: str, store: Store, partition: str | None = None) -> Artifact | None:
    """The artifact that is current, if it was made by the same version of the stage; its files are not looked at."""
    try:
        found = store.current(asset, partition)
    except (MissingArtifact, Damaged):
        return None
    return found if found.manifest["version"] == ASSETS[asset].version else None


def reusable(asset: str, store: Store, partition: str | None = None) -> Artifact | None:
    """The same, if it is intact as well: unchanged buckets are taken from it, and damage must not be handed on as new work."""
    return store.usable(asset, partition) if previous(asset, store, partition) else None


def _intact(found: Artifact) -> bool:
    """Whether an artifact is what its manifest says."""
    try:
        found.verify()
    except Damaged as damage:
        integrity.warn(damage)
        return False
    return True


def _ids_of(vocabulary: Artifact) -> str:
    """The hash of a vocabulary's concepts in the order of their token ids."""
    return read_hash(vocabulary.path)
