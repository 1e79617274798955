"""Checks of the split: its column in the patient files is understood, and held-out patients were not used for training."""

from ehr_pipeline.checks.lost_rows import first_values, percent
from ehr_pipeline.checks.model import Result, check
from ehr_pipeline.disclosure.figures import FEWEST, count_text
from ehr_pipeline.disclosure.kinds import Figure, People, Share
from ehr_pipeline.patients import train_test_sides, training_patients
from ehr_pipeline.patients.settings import UNASSIGNED
from ehr_pipeline.store import secret_key
from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import json_files
from ehr_pipeline.tables.asset_names import EXTRACT_CATALOG


def _problems(artifact: Artifact) -> tuple[dict[str, int], int]:
    """Return how many patients have a value for their set that is not understood, how many have differing values, and how many
    patients there are."""
    counts = artifact.counts.get("split", {})
    found = {name: counts.get(name, 0) for name in ("not_understood", "differing")}
    return found, sum(counts.get("sides", {}).values())


def few_misunderstood(artifact: Artifact, study: Study) -> bool:
    """Return whether the share of doubtful values is below records.limits.not_understood_error; fewer than FEWEST always pass."""
    found, of = _problems(artifact)
    limit = study.records.limits.not_understood_error
    return not any(number >= FEWEST and number >= limit * of for number in found.values())


@check(only_warns=few_misunderstood, applies=lambda study: bool(study.patients.split.column))
def sides_understood(artifact: Artifact, store: Store, study: Study) -> Result:
    """The column that assigns patients to sets of the split is understood, and extracts agree on it (records.limits)."""
    below, limit = study.reports.suppress_below, study.records.limits.not_understood_error
    found, of = _problems(artifact)
    none, parts = artifact.counts["split"]["sides"][UNASSIGNED], []

    def share(number: int) -> str:
        return count_text(number, below) + percent(Share(People(number), People(of)), below)

    if found["not_understood"]:
        path = artifact.file(train_test_sides.VALUES)
        values = json_files.read(path) if path.is_file() else {}
        often = [value for value, number in values.items() if number >= below]
        named = f"({first_values(often)}) " if often else ""
        parts.append(
            f"the values that assign {share(found['not_understood'])} patients to a set of the split are not understood. Set the"
            f" meaning of these values {named}in patients.split.values"
        )
    if found["differing"]:
        parts.append(
            f"extracts assign {share(found['differing'])} patients to different sets of the split; the oldest extract that gives"
            " one takes precedence, so no patient used for training becomes a test patient"
        )
    if parts:
        parts.append(f"At {limit:.1%} or more, the run stops here (records.limits)")
    if none and (parts or none >= limit * of):
        parts.append(f"{share(none)} patients are in no set of the split, and are not used for training")
    figures: dict[str, Figure] = {name: People(number) for name, number in artifact.counts["split"]["sides"].items()}
    return not parts, ". ".join(parts) or "every value is understood, and extracts agree", figures


def cannot_be_checked(artifact: Artifact, study: Study) -> bool:
    """Return whether it is unknown which patients an artifact was trained on; the check then only warns."""
    return bool(training_patients.cannot_be_checked(artifact.path, secret_key.read(Store(study.study.store).root)))


@check(only_warns=cannot_be_checked, applies=lambda study: study.patients.split.leaves_out)
def test_side_unseen(artifact: Artifact, store: Store, study: Study) -> Result:
    """No test patient was used for training, according to hashes of the training patients."""
    key = secret_key.read(store.root)
    if why := training_patients.cannot_be_checked(artifact.path, key):
        return False, why, {}
    assert key is not None
    catalog = store.intact(EXTRACT_CATALOG)
    seen = training_patients.overlap(artifact.path, key, train_test_sides.left_out(catalog))
    if not seen:
        return True, "no excluded patient was used for training", {}
    asset = artifact.manifest["asset"]
    return (
        False,
        f"{asset} learned from {count_text(seen, study.reports.suppress_below)} patients who are in the test set, or in no set"
        f" of the split. Rebuild it: ehr-pipeline run --select {asset}+",
        {"seen": People(seen)},
    )
