"""What the model predicts, on one page: what it is worth beside counting, task by task, and where it is not needed."""

from ehr_pipeline.disclosure.kinds import Declared, Things
from ehr_pipeline.tables.asset_names import PREDICTION_REPORT

PAGE, HEAD = "prediction_report.html", "head.json"
"""The page; and its first sentences, for the model card."""

COUNTED: dict[str, Declared] = {PREDICTION_REPORT: {"*": Things}}
