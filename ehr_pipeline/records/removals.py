"""The record of removed patients: how many, when, and why. It does not identify anyone."""

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from ehr_pipeline.store.artifacts import Artifact, Store
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import EXTRACT_CATALOG, RAW_RECORDS

FILE = "notes/removals.json"
WITHDREW, ABSENT = "withdrew", "absent from the newer snapshot"

Removal = dict[str, Any]
"""`at` (ISO time), `extract`, `reason` (`WITHDREW` or `ABSENT`), `patients` and `events` (numbers)."""


def recorded(store: Store) -> list[Removal]:
    """Return the removals recorded in the current catalog."""
    known = store.usable(EXTRACT_CATALOG)
    if known is None or not known.file(FILE).is_file():
        return []
    listed: list[Removal] = json.loads(known.file(FILE).read_text(encoding="utf-8"))
    return listed


def all_removals(store: Store, artifacts: dict[str, Artifact]) -> list[Removal]:
    """Return the recorded removals, then new ones. `artifacts` are the records of the extracts in use now."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    known, removals = recorded(store), []
    for extract, artifact in artifacts.items():
        counts = artifact.counts
        totals = {
            "patients": counts["patients"]["dropped"].get("withdrawn", 0),
            "events": counts["dropped"].get("withdrawn", 0),
        }
        before = [removal for removal in known if (removal["extract"], removal["reason"]) == (extract, WITHDREW)]
        new = {name: number - sum(removal[name] for removal in before) for name, number in totals.items()}
        if any(new.values()):
            removals.append({"at": now, "extract": extract, "reason": WITHDREW, **new})
    replaced = [extract for extract in store.partitions(RAW_RECORDS) if extract not in artifacts]
    if replaced:
        newest, older = artifacts[max(artifacts)], store.intact(RAW_RECORDS, replaced[-1])
        absent = _absent(older, newest)
        if absent["patients"]:
            removals.append({"at": now, "extract": max(artifacts), "reason": ABSENT, **absent})
    return known + removals


def _absent(older: Artifact, newer: Artifact) -> dict[str, int]:
    """Count the patients of one extract who are not in another, and their events."""
    patients = events = 0
    same = len(older.files("patients")) == len(newer.files("patients"))
    all_newer = None if same else _ids(newer.files("patients"))
    for shard in older.files("patients"):
        newer_ids = _ids([newer.file(f"patients/{shard.name}")]) if all_newer is None else all_newer
        ids = _ids([shard])
        gone = ids.filter(pc.invert(pc.is_in(ids, value_set=newer_ids)))
        patients += len(gone)
        if len(gone):
            recorded_by = schemas.read(older.file(f"events/{shard.name}"), ["patient_id"]).column("patient_id")
            listed = recorded_by.combine_chunks()
            leaves = pc.is_in(listed.dictionary, value_set=gone).to_numpy(zero_copy_only=False)
            events += int(leaves[listed.indices.to_numpy()].sum())
    return {"patients": patients, "events": events}


def _ids(shards: list[Path]) -> pa.Array:
    return pa.concat_arrays(
        [schemas.read(path, ["patient_id"]).column("patient_id").combine_chunks() for path in shards]
    )
