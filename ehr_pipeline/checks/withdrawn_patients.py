"""Checks that no artifact holds a patient who opted out or is missing from the newest snapshot."""

from collections.abc import Collection
from pathlib import Path

from ehr_pipeline.checks.model import Result
from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.disclosure.kinds import People
from ehr_pipeline.records import catalog, removals
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.artifacts import KEPT_WITHOUT_CONSENT, Artifact, Store, hash_of
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables.asset_names import EXTRACT_CATALOG, RAW_RECORDS, STAGES
from ehr_pipeline.typed_settings import file_hash


def population(asset: str, store: Store, study: Study) -> str:
    """Return a hash that identifies which patients a new artifact may contain. It changes with the list of withdrawals and with a
    newer snapshot.

    It is empty if the artifact may hold every patient who was ever in an extract.
    """
    return _population(asset, list_of_withdrawals(study), store, study)


def population_made(asset: str, store: Store, study: Study) -> str:
    """Return the value that `population` had when a new artifact's source records were made. The list of withdrawals may be
    newer."""
    if asset in (RAW_RECORDS, EXTRACT_CATALOG):
        return population(asset, store, study)
    listed = store.current(EXTRACT_CATALOG)
    newest = store.current(RAW_RECORDS, max(listed.manifest["inputs"]))
    if newest.data_version != listed.manifest["inputs"][newest.manifest["partition"]]:
        return str(listed.manifest["population"])  # the newest extract was read again, but is not in the catalog yet
    return _population(asset, newest.manifest["settings"].get("withdrawals", ""), store, study)


def _population(asset: str, listed: str, store: Store, study: Study) -> str:
    snapshot = study.records.mode == "snapshot" and asset != RAW_RECORDS
    extracts = list(catalog.versions(store, "snapshot")) if snapshot else []
    return hash_of([listed, extracts]) if listed or extracts else ""


def list_of_withdrawals(study: Study) -> str:
    """Return a keyed hash of the list of withdrawals, which artifacts record in their settings; empty without a list.

    The hash is keyed because anyone could find the patient of a list of one by hashing all possible ids.
    """
    listed = study.records.withdrawals
    return secret_key.of(Path(study.study.store)).file_state(Path(listed)) if listed else ""


def _is_list(state: str, study: Study) -> bool:
    """Return whether an artifact was made with the current list. Artifacts of earlier versions hold an unkeyed hash of the list."""
    listed = study.records.withdrawals
    return state == list_of_withdrawals(study) or bool(state and listed and state == file_hash(Path(listed)))


def of_present_patients(artifact: Artifact, store: Store, study: Study, reads: Collection[str] = ()) -> Result:
    """No patient was removed after the artifact was made, or its inputs are still the same."""
    asset = artifact.manifest["asset"]
    if asset == RAW_RECORDS:
        passed = _is_list(artifact.manifest["settings"].get("withdrawals", ""), study)
    else:
        inputs = {
            name: version for name, version in artifact.manifest["inputs"].items() if name in STAGES or name in reads
        }
        same = all(store.has(name) and store.current(name).data_version == inputs[name] for name in inputs)
        passed = same or artifact.manifest["population"] == population(asset, store, study)
    if passed:
        return True, "no patient has left since", {}
    made_at = artifact.manifest["made_at"]
    left = sum(removal["patients"] for removal in removals.recorded(store) if removal["at"] >= made_at)
    if asset in KEPT_WITHOUT_CONSENT and not left and _removals_are_recorded(store, study):
        # There is a new snapshot or list, but no patient was removed.
        return True, "no patient has left since", {}
    return (
        False,
        f"{count_text(left, study.reports.suppress_below).capitalize()} patients have left since {asset} was made ({made_at})."
        f" Rebuild it: ehr-pipeline run --select {asset}+",
        {"removed_since": People(left)},
    )


def _removals_are_recorded(store: Store, study: Study) -> bool:
    """Return whether the current catalog was made with the current extracts and the current list of withdrawals."""
    catalog = store.current(EXTRACT_CATALOG)
    return bool(catalog.manifest["population"] == population(EXTRACT_CATALOG, store, study))
