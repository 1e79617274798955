"""The page of predictions: how much better than counting the model is, task by task, and for which tasks it is not needed."""

from ehr_pipeline.disclosure.kinds import Declared, Plain
from ehr_pipeline.tables.asset_names import PREDICTION_REPORT

PAGE, HEAD = "prediction_report.html", "head.json"
"""Files of the page, and of its first sentences for the model card."""

COUNTED: dict[str, Declared] = {PREDICTION_REPORT: {"*": Plain}}
