"""Read raw delimited text into typed columns, hash-bucketed by patient; unusable rows go to a quarantine with a reason."""

from ehr_pipeline.disclosure.kinds import Declared, Events, People, Plain, size
from ehr_pipeline.tables.asset_names import EXTRACT_CATALOG, RAW_RECORDS

COUNTED: dict[str, Declared] = {
    RAW_RECORDS: {
        "patients": People,
        "files": Plain,
        "unended_files": Plain,
        "unread": {"bytes": size, "*": Plain},
        "buckets": Plain,
        "latest_date": Plain,
        "*": Events,
    },
    EXTRACT_CATALOG: {"extracts": Plain, "patient_rows": People, "patients_removed": People, "*": Events},
}
