"""Build `extract_catalog`: the list of extracts, each with its data version. All later assets depend on this one.

Without it, Dagster would ignore the dependency of an unpartitioned asset on 100 or more partitions when it looks for stale assets.
Extracts are also combined here: an event whose patient has no row in its own extract joins the patients of all of them
(`events_without_patient`).
"""

import json
from collections import Counter
from pathlib import Path

from ehr_pipeline.errors import InputError, MissingArtifact, UserError
from ehr_pipeline.records import events_without_patient, removals
from ehr_pipeline.records.settings import RecordsSettings
from ehr_pipeline.store.artifacts import Artifact, Counts, Store
from ehr_pipeline.tables.asset_names import RAW_RECORDS
from ehr_pipeline.work.buckets import Spread, map_buckets

SET_ASIDE = "notes/waiting.json"
"""File with the numbers of events of each extract that were set aside and then kept, or dropped by reason."""
FILE = "catalog.json"


def extracts_in(landing: Path) -> list[str]:
    """Return the names of the extracts in the landing folder, sorted; hidden folders do not count."""
    if not landing.is_dir():
        return []
    return sorted(path.name for path in landing.iterdir() if path.is_dir() and not path.name.startswith("."))


def in_use(store: Store, mode: str) -> list[str]:
    """Return the extracts in use: all that were read or, in snapshot mode, only the newest.

    Raises MissingArtifact if there is none.
    """
    extracts = store.partitions(RAW_RECORDS)
    if not extracts:
        raise MissingArtifact(
            "raw_records has not been built for any extract. Build it first:"
            " ehr-pipeline run --settings FILE --select raw_records"
        )
    return extracts[-1:] if mode == "snapshot" else extracts


def versions(store: Store, mode: str = "increment") -> dict[str, str]:
    """Return the data version of every extract in use. Raises MissingArtifact if there is none."""
    return {extract: store.current(RAW_RECORDS, extract).data_version for extract in in_use(store, mode)}


def build(
    store: Store, artifacts: dict[str, Artifact], settings: RecordsSettings, out: Path, spread: Spread = map_buckets
) -> Counts:
    """Write `catalog.json` (data version by extract) and `notes/removals.json` (how many patients were removed, when and why).

    Also write `notes/waiting.json`: what became of the events that were set aside, by extract. If several extracts are in use and
    events of any of them were set aside, `events/` and `codes/` are written too. `artifacts` are the records of the extracts in
    use, by name. Returns the number of rows and patients over all of them. Raises InputError if they contain no event whose patient
    has a row in any of them."""
    listed = {extract: artifact.data_version for extract, artifact in artifacts.items()}
    (out / FILE).write_text(json.dumps(listed, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    counts = [artifact.counts for artifact in artifacts.values()]
    left = removals.all_removals(store, artifacts)
    (out / removals.FILE).parent.mkdir()
    (out / removals.FILE).write_text(json.dumps(left, indent=1) + "\n", encoding="utf-8")
    joined = events_without_patient.join(artifacts, settings, out, spread)
    (out / SET_ASIDE).write_text(
        json.dumps(dict(events_without_patient.by_extract(joined)), indent=1) + "\n", encoding="utf-8"
    )
    outcome = sum((kept for extract, kept in joined.items() if extract), Counter[str]())
    distinct = joined.get("", Counter[str]())[events_without_patient.KEPT]
    kept = sum(count["kept"] for count in counts)
    if not kept + distinct:
        raise InputError(
            f"No event belongs to a patient with a patient row in any extract ({', '.join(artifacts)}). Check that event files and"
            " patient files use the same patient ids (columns.patient)."
        )
    return {
        "extracts": len(artifacts),
        "rows_in": kept + outcome.total(),
        "kept": kept + distinct,
        "collapsed": outcome[events_without_patient.KEPT] - distinct,
        "dropped": {
            reason: number for reason, number in sorted(outcome.items()) if reason != events_without_patient.KEPT
        },
        "taken_up": outcome.total(),
        "patient_rows": sum(count["patients"]["kept"] for count in counts),
        "patients_removed": sum(removal["patients"] for removal in left),
    }


def read(folder: Path) -> dict[str, str]:
    """Return the data version of each extract, by name, from the folder of an `extract_catalog` artifact."""
    listed: dict[str, str] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return listed


def records(store: Store, catalog: Artifact) -> list[Artifact]:
    """Return the raw records of the catalog's extracts, oldest name first.

    Raises UserError if one of them has changed since the catalog was built.
    """
    artifacts = []
    for extract, version in sorted(read(catalog.path).items()):
        artifact = store.intact(RAW_RECORDS, extract)
        if artifact.data_version != version:
            raise UserError(
                f"raw_records of extract {extract} was rebuilt after extract_catalog. Rebuild extract_catalog."
            )
        artifacts.append(artifact)
    events_without_patient.refuse_other_buckets(artifacts)
    return artifacts
