"""Checks before copying: the mirror belongs to this store, no other command is copying, and the data may be copied."""

import datetime
import json
import re
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ehr_pipeline.assets import ASSETS
from ehr_pipeline.checks import withdrawn_patients
from ehr_pipeline.disclosure.governance import refuse_if_expired
from ehr_pipeline.errors import InputError, MissingArtifact, UserError
from ehr_pipeline.mirror.object_store import Mirror
from ehr_pipeline.records import catalog
from ehr_pipeline.store import build_lock, secret_key
from ehr_pipeline.store.artifacts import KEPT_WITHOUT_CONSENT, Artifact, Store
from ehr_pipeline.store.durable import write_atomically
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import EXTRACT_CATALOG, RAW_RECORDS

MARK = "mirror.json"  # in the mirror
STORE_MARK = ".mirror.json"  # in the store
OUTDATED = "made before the last change of who may be in it (withdrawals, a newer snapshot)"
REPLACED = "there is a newer snapshot"
EXPIRED = "the licence in its manifest has expired, and governance.expires is not set to a later day"


def one_copy_at_a_time(store: Store) -> AbstractContextManager[int]:
    """Allow one push or pull of a store at a time. Raises UserError when another is running."""
    store.root.mkdir(parents=True, exist_ok=True)
    busy = f"Another push or pull of {store.root} is under way. Wait for its end."
    return build_lock.exclusive(store.root / ".mirror.lock", busy)


def begin_push(mirror: Mirror, store: Store, study: Study) -> None:
    """Check that a mirror belongs to this store, and mark a new mirror. Raises UserError."""
    own, theirs = _mark_of_store(store), _theirs(mirror)
    if own and own["pulling"] and theirs is not None:
        raise UserError(
            "The last pull did not end, or left artifacts in the mirror that were not made here since: pushing would remove them."
            " Pull again, then push; or set study.mirror to an empty place."
        )
    if not any(store.root.glob("[!.]*/**/current")):
        raise UserError(
            f"{store.root} (study.store) contains no artifact: there is nothing to push. Nothing was removed."
        )
    if theirs is None:
        if own and own["place"] == mirror.name:
            raise UserError(
                f"{mirror.name} (study.mirror) is empty, but was filled from this store before: is the right disk mounted, and the"
                f" bucket the right one? To start it from scratch, remove {store.root / STORE_MARK}, then push."
            )
        if not mirror.is_empty():
            raise UserError(
                f"{mirror.name} (study.mirror) contains files, but is not a mirror. Set study.mirror to an empty place."
            )
        theirs = own["id"] if own and not own["pulling"] else uuid.uuid4().hex
        mirror.write(MARK, (json.dumps({"id": theirs, "study": study.study.name}) + "\n").encode())
    elif own is None or own["id"] != theirs:
        raise UserError(
            f"{mirror.name} (study.mirror) is the mirror of another store than {store.root}: pushing would remove what that"
            " one made. Set study.mirror to an empty place; or set study.store to an empty folder, and pull first; or, if nobody"
            " needs the mirror, remove it with the tools of the place."
        )
    _mark(store, theirs, mirror, pulling=False)


def begin_pull(mirror: Mirror, store: Store) -> str:
    """Check that a mirror belongs to this store, or the store is empty. Returns the mirror's id. Raises UserError."""
    own, theirs = _mark_of_store(store), _theirs(mirror)
    if theirs is None:
        raise UserError(
            f"{mirror.name} (study.mirror) is not a mirror: nothing was ever pushed there. Check study.mirror, or push from"
            " the store first."
        )
    if own is None and any(store.root.glob("[!.]*/**/current")):
        raise UserError(
            f"{store.root} was not copied from {mirror.name} (study.mirror): the two would be mixed. Set study.store to an empty"
            " folder, then pull."
        )
    if own is not None and own["id"] != theirs:
        raise UserError(
            f"{mirror.name} (study.mirror) is the mirror of another store than {store.root}. Set study.store to the store of"
            " this mirror, or to an empty folder."
        )
    if own is None or own["pulling"]:
        _mark(store, theirs, mirror, pulling=True)
    return theirs


def end_pull(mirror: Mirror, store: Store, name: str) -> None:
    """Record that the store now has everything the mirror has, so it may push."""
    _mark(store, name, mirror, pulling=False)


def _theirs(mirror: Mirror) -> str | None:
    content = mirror.read(MARK)
    if content is None:
        return None
    try:
        return _id(json.loads(content))
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{mirror.name} (study.mirror): {MARK} is damaged. Set study.mirror to another place."
        ) from None


def _mark_of_store(store: Store) -> dict[str, Any] | None:
    path = store.root / STORE_MARK
    try:
        mark = json.loads(path.read_text(encoding="utf-8"))
        return {"id": _id(mark), "place": str(mark["place"]), "pulling": bool(mark["pulling"])}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged. Remove it, and push to an empty place.") from None


def _id(mark: dict[str, Any]) -> str:
    if not re.fullmatch("[0-9a-f]{32}", mark["id"]):
        raise ValueError
    return str(mark["id"])


def _mark(store: Store, name: str, mirror: Mirror, pulling: bool) -> None:
    mark = {"id": name, "place": mirror.name, "pulling": pulling}
    if _mark_of_store(store) != mark:
        write_atomically(store.root / STORE_MARK, json.dumps(mark) + "\n")


class Terms:
    """What may be copied under the settings' licence and list of withdrawals. Raises UserError when nothing may."""

    def __init__(self, study: Study, store: Store):
        refuse_if_expired(study.governance)
        withdrawals = study.records.withdrawals
        if withdrawals and not Path(withdrawals).is_file():
            raise InputError(
                f"{withdrawals} (records.withdrawals) does not exist, so it is unknown who withdrew. Nothing was copied."
            )
        self.study, self.store = study, store
        self.newest = max(store.partitions(RAW_RECORDS), default="")
        self._left: set[tuple[str, str]] = set()

    def why_not(self, manifest: Mapping[str, Any]) -> str:
        """Return why an artifact may not be copied, in words; '' when it may. Call it for artifacts in the order of the chain.

        Raises UserError when withdrawals cannot be checked, since the artifact was made with another store's key.
        """
        self._refuse_another_key(manifest)
        reason = EXPIRED if self._has_expired(manifest) else self._is_outdated(manifest)
        if reason:
            self._left.add((manifest["asset"], manifest["partition"] or ""))
        return reason

    def _refuse_another_key(self, manifest: Mapping[str, Any]) -> None:
        withdrawn = str(manifest["settings"].get("withdrawals", "")) if manifest["asset"] == RAW_RECORDS else ""
        if not self.study.records.withdrawals or ":" not in withdrawn:
            return
        name, own = withdrawn.partition(":")[0], secret_key.of(self.store.root).name
        if name != own:
            raise UserError(
                f"{self.store.root} (study.store) has the key {own}, but the records in the mirror were hashed with {name}: who"
                " withdrew is unknown. Where they were read, run `ehr-pipeline key export FILE`; here, `ehr-pipeline key import"
                " FILE`. Then run this again."
            )

    def _is_outdated(self, manifest: Mapping[str, Any]) -> str:
        snapshot = manifest["asset"] == RAW_RECORDS and self.study.records.mode == "snapshot"
        if snapshot and manifest["partition"] < self.newest:
            return REPLACED
        return "" if self._are_present(manifest) else OUTDATED

    def _are_present(self, manifest: Mapping[str, Any]) -> bool:
        """Return whether no patient in the artifact has left the study. The checks of a stage compare it only with the stage
        before; this one considers all stages."""
        asset, inputs = manifest["asset"], manifest["inputs"]
        if asset in KEPT_WITHOUT_CONSENT:
            return True
        try:
            if asset == EXTRACT_CATALOG:
                found = catalog.versions(self.store, self.study.records.mode)
                return all(found.get(name) == inputs[name] and (RAW_RECORDS, name) not in self._left for name in inputs)
            if any((name, "") in self._left for name in inputs):
                return bool(manifest["population"] == withdrawn_patients.population(asset, self.store, self.study))
            artifact = Artifact(self.store.root, dict(manifest))
            return ASSETS[asset].passes("patients_present", artifact, self.store, self.study)
        except MissingArtifact:
            return False

    def _has_expired(self, manifest: Mapping[str, Any]) -> bool:
        """Return whether the licence in the manifest has expired. A date in the settings overrides it (renewed licence)."""
        terms = manifest.get("governance", {})
        if self.study.governance.expires or not terms.get("expires"):
            return False
        try:
            return datetime.date.today() > datetime.date.fromisoformat(terms["expires"])
        except (TypeError, ValueError):
            return True
