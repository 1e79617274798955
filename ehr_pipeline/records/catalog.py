"""`extract_catalog`: which extracts there are, each with its data version. Everything downstream depends on this one asset.

Dagster silently ignores an unpartitioned asset's dependence on a hundred or more partitions; the catalog does not.
"""

import json
from pathlib import Path

from ehr_pipeline.artifacts import Artifact, Counts, Store
from ehr_pipeline.errors import MissingArtifact, UserError


def extracts_in(landing: Path) -> list[str]:
    """Names of the extracts in the landing folder, sorted; hidden folders do not count."""
    if not landing.is_dir():
        return []
    return sorted(path.name for path in landing.iterdir() if path.is_dir() and not path.name.startswith("."))


def versions(store: Store) -> dict[str, str]:
    """Data version of every extract that was read. Raises MissingArtifact when there is none."""
    found = {extract: store.current("raw_records", extract).data_version for extract in store.partitions("raw_records")}
    if not found:
        raise MissingArtifact(
            "raw_records has not been made yet for any extract. Materialise it first: ehr-pipeline run --select raw_records"
        )
    return found


def build(store: Store, found: dict[str, str], out: Path) -> Counts:
    """Write `catalog.json`: data version by extract. Returns the number of rows and patients over all extracts."""
    (out / "catalog.json").write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    counts = [store.current("raw_records", extract).counts for extract in found]
    return {
        "extracts": len(found),
        "rows_in": sum(count["kept"] for count in counts),
        "kept": sum(count["kept"] for count in counts),
        "patient_rows": sum(count["patients"]["kept"] for count in counts),
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
    buckets = {artifact.manifest["settings"]["buckets"] for artifact in artifacts}
    if len(buckets) > 1:
        raise UserError(
            f"The extracts were read into different numbers of buckets ({sorted(buckets)}), since records.buckets was changed in"
            " between. Materialise raw_records again for all extracts."
        )
    return artifacts
