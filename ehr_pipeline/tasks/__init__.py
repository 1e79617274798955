"""Stage `tasks`: make the labels of clinical tasks from concept lists: who is at risk on which day, and what happened then."""

from ehr_pipeline.disclosure.kinds import Declared, EventsOfAtMost, Plain
from ehr_pipeline.tables.asset_names import TASK_LABELS

COUNTED: dict[str, Declared] = {
    TASK_LABELS: {
        "tasks": Plain,
        "groups_ending_earlier": Plain,
        "most_per_patient": None,
        "*": {"concepts": Plain, "most_per_patient": None, "*": EventsOfAtMost("most_per_patient")},
    }
}
