"""`extract_catalog`: which extracts there are, each with its data version. Everything downstream depends on this one asset.

Dagster silently ignores an unpartitioned asset's dependence on a hundred or more partitions; the catalog does not.
"""

import json
from pathlib import Path

from ehr_pipeline.artifacts import Artifact, Counts, Store
from ehr_pipeline.errors import MissingArtifact, UserError
from ehr_pipeline.records import removals


def extracts_in(landing: Path) -> list[str]:
    """Names of the extracts in the landing folder, sorted; hidden folders do not count."""
    if not landing.is_dir():
        return []
    return sorted(path.name for path in landing.iterdir() if path.is_dir() and not path.name.startswith("."))


def counting(store: Store, mode: str) -> list[str]:
    """The extracts that count: all that were read, or the newest. Raises MissingArtifact when there is none."""
    extracts = store.partitions("raw_records")
    if not extracts:
        raise MissingArtifact(
            "raw_records has not been made yet for any extract. Make it first:"
            " ehr-pipeline run --settings FILE --select raw_records"
        )
    return extracts[-1:] if mode == "snapshot" else extracts


def versions(store: Store, mode: str = "increment") -> dict[str, str]:
    """Data version of every extract that counts. Raises MissingArtifact when there is none."""
    return {extract: store.current("raw_records", extract).data_version for extract in counting(store, mode)}


def build(store: Store, found: dict[str, Artifact], out: Path) -> Counts:
    """Write `catalog.json`: data version by extract; and `notes/removals.json`: how many patients left, when and why.

    `found` are the records of the extracts that count. Returns the number of rows and patients over all extracts that count.
    """
    listed = {extract: artifact.data_version for extract, artifact in found.items()}
    (out / "catalog.json").write_text(json.dumps(listed, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    counts = [artifact.counts for artifact in found.values()]
    left = removals.recorded(store) + removals.since(store, found)
    (out / removals.FILE).parent.mkdir()
    (out / removals.FILE).write_text(json.dumps(left, indent=1) + "\n", encoding="utf-8")
    return {
        "extracts": len(found),
        "rows_in": sum(count["kept"] for count in counts),
        "kept": sum(count["kept"] for count in counts),
        "patient_rows": sum(count["patients"]["kept"] for count in counts),
        "patients_removed": sum(removal["patients"] for removal in left),
    }


def records(store: Store, catalog: Artifact) -> list[Artifact]:
    """The raw records of the catalog's extracts, oldest name first. Raises UserError when one has changed since."""
    listed: dict[str, str] = json.loads(catalog.file("catalog.json").read_text(encoding="utf-8"))
    artifacts = []
    for extract, version in sorted(listed.items()):
        artifact = store.current("raw_records", extract)
        if artifact.data_version != version:
            raise UserError(
                f"raw_records of extract {extract} was made anew after extract_catalog. Materialise extract_catalog again."
            )
        artifacts.append(artifact)
    buckets = {len(artifact.files("events")) for artifact in artifacts}
    if len(buckets) > 1:
        raise UserError(
            f"The extracts were read into different numbers of buckets ({sorted(buckets)}), since records.buckets was changed in"
            " between. Materialise raw_records again for all extracts."
        )
    return artifacts
