"""Stage `predictions`: what the encoder and simpler models predict of clinical tasks, side by side on the same patients."""

from ehr_pipeline.disclosure.kinds import Declared, Things
from ehr_pipeline.tables.asset_names import TASK_RESULTS

COUNTED: dict[str, Declared] = {TASK_RESULTS: {"tasks": Things, "too_few": Things}}
