"""Mapped events to one row for each patient, in Arrow; and the split into training and validation patients."""

from ehr_pipeline.disclosure.kinds import Declared, Events, EventsOf, People, Things, size
from ehr_pipeline.tables.asset_names import DATA_SPLIT, PATIENT_DATASET

OF_FEW = EventsOf("patients/dropped/few_visits")
"""Who is left out for few visits had fewer than `min_visits` each: their visits and events would tell how few they are."""
COUNTED: dict[str, Declared] = {
    PATIENT_DATASET: {
        "dropped": {"few_visits": OF_FEW, "*": Events},
        "visits": {"rows_in": OF_FEW, "dropped": {"few_visits": OF_FEW, "*": Events}, "*": Events},
        "patients": People,
        "patients_without_events": People,
        "shards": Things,
        "buckets_unchanged": Things,
        "bytes": size,
        "*": Events,
    },
    DATA_SPLIT: {"*": People},
}
