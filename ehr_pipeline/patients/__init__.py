"""Turn mapped events into one row per patient, in Arrow; and split patients into training, validation and test sets."""

from ehr_pipeline.disclosure.kinds import Declared, Events, EventsOf, People, Plain, size
from ehr_pipeline.tables.asset_names import DATA_SPLIT, PATIENT_DATASET

EVENTS_OF_FEW_VISITS = EventsOf("patients/dropped/few_visits")
"""Events of patients who are left out for few visits. As each has fewer than `min_visits` visits, these counts reveal the number of
patients."""
COUNTED: dict[str, Declared] = {
    PATIENT_DATASET: {
        "dropped": {"few_visits": EVENTS_OF_FEW_VISITS, "*": Events},
        "visits": {
            "rows_in": EVENTS_OF_FEW_VISITS,
            "dropped": {"few_visits": EVENTS_OF_FEW_VISITS, "*": Events},
            "*": Events,
        },
        "patients": People,
        "patients_without_events": People,
        "shards": Plain,
        "buckets_unchanged": Plain,
        "bytes": size,
        "*": Events,
    },
    DATA_SPLIT: {"*": People},
}
