"""Stage `tasks`: clinical tasks, from concept lists to labels: who is at risk when, and what happened then."""

from ehr_pipeline.disclosure.kinds import Declared, People, Things
from ehr_pipeline.tables.asset_names import TASK_LABELS

COUNTED: dict[str, Declared] = {
    TASK_LABELS: {
        "tasks": Things,
        "*": {"concepts": Things, "*": People},
    }
}
