"""Read raw delimited text into typed columns, hash-bucketed by patient; unusable rows go to a quarantine with a reason."""

from ehr_pipeline.disclosure.kinds import Declared, Events, People, Things, size
from ehr_pipeline.tables.asset_names import EXTRACT_CATALOG, RAW_RECORDS

COUNTED: dict[str, Declared] = {
    RAW_RECORDS: {
        "patients": People,
        "files": Things,
        "unended_files": Things,
        "unread": {"bytes": size, "*": Things},
        "buckets": Things,
        "latest_date": Things,
        "*": Events,
    },
    EXTRACT_CATALOG: {"extracts": Things, "patient_rows": People, "patients_removed": People, "*": Events},
}
