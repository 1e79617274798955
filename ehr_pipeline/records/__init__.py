"""Raw delimited text to typed columns, hash-bucketed by patient; what cannot be used goes to a quarantine with a reason."""

from ehr_pipeline.disclosure.kinds import Declared, Events, People, Things, size

COUNTED: dict[str, Declared] = {
    "raw_records": {
        "patients": People,
        "files": Things,
        "unended_files": Things,
        "unread": {"bytes": size, "*": Things},
        "buckets": Things,
        "latest_date": Things,
        "*": Events,
    },
    "extract_catalog": {"extracts": Things, "patient_rows": People, "patients_removed": People, "*": Events},
}
