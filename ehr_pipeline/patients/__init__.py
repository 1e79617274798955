"""Turn mapped events into one row for each patient, in Arrow; and split patients into training, validation and test."""

from ehr_pipeline.disclosure.kinds import Declared, Events, EventsOf, People, Plain, size
from ehr_pipeline.tables.asset_names import DATA_SPLIT, PATIENT_DATASET

OF_FEW = EventsOf("patients/dropped/few_visits")
"""Events of patients left out for few visits. Each such patient had fewer than `min_visits` visits, so these counts reveal the
number of patients."""
COUNTED: dict[str, Declared] = {
    PATIENT_DATASET: {
        "dropped": {"few_visits": OF_FEW, "*": Events},
        "visits": {"rows_in": OF_FEW, "dropped": {"few_visits": OF_FEW, "*": Events}, "*": Events},
        "patients": People,
        "patients_without_events": People,
        "shards": Plain,
        "buckets_unchanged": Plain,
        "bytes": size,
        "*": Events,
    },
    DATA_SPLIT: {"*": People},
}
