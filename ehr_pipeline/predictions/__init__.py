"""Stage `predictions`: compare the encoder with simpler models on clinical tasks, on the same patients."""

from ehr_pipeline.disclosure.kinds import Declared, Plain
from ehr_pipeline.tables.asset_names import TASK_RESULTS

COUNTED: dict[str, Declared] = {TASK_RESULTS: {"tasks": Plain, "too_few": Plain}}
