"""Stage `tasks`: make the labels of clinical tasks from concept lists: who is at risk on which day, and what happened then."""

from ehr_pipeline.disclosure.kinds import Declared, People, Plain
from ehr_pipeline.tables.asset_names import TASK_LABELS

COUNTED: dict[str, Declared] = {
    TASK_LABELS: {"tasks": Plain, "groups_ending_earlier": Plain, "*": {"concepts": Plain, "*": People}}
}
