"""The declarations of the assets of clinical tasks."""

from ehr_pipeline.assets import identity
from ehr_pipeline.assets.asset import Asset
from ehr_pipeline.assets.data import EVENT, PATIENT
from ehr_pipeline.checks import rows, tasks
from ehr_pipeline.checks.model import Check
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import (
    DATA_SPLIT,
    EXTRACT_CATALOG,
    MAPPED_EVENTS,
    PATIENT_DATASET,
    TASK_LABELS,
    VOCABULARY,
)

TASKS = (
    Asset(
        name=TASK_LABELS,
        description="Clinical tasks: who is labelled from which day on, what happened then, and who is left out why. Empty without"
        " `[tasks]`.",
        reads=(EXTRACT_CATALOG, MAPPED_EVENTS, VOCABULARY, PATIENT_DATASET, DATA_SPLIT),
        version="2",
        section="tasks",
        also=(identity.of_tasks,),
        checks=(
            rows.CONSERVED,
            Check(
                "history_before_label",
                "Every label has visits before its window, and history and window do not overlap.",
                tasks.history_before_label,
            ),
            Check(
                "test_side_labelled",
                "Labels of patients of the test side are there, apart from those that are learned from.",
                tasks.test_side_labelled,
                blocking=False,
            ),
            Check(
                "index_before_outcome",
                "The rule for the index day does not read the outcome.",
                tasks.index_before_outcome,
                blocking=False,
            ),
            Check(
                "enough_cases",
                f"Each task has at least {tasks.FEWEST_CASES} cases on the test side.",
                tasks.enough_cases,
                blocking=False,
            ),
        ),
        columns=lambda study: schemas.TASK_LABELS,
        meanings={
            "task": "Number of the task in tasks.json.",
            "index_date": "The day on which the prediction is made.",
            "history_from": "The first day of the history; empty: all of it is used.",
            "history_until": "The last date of visits of the data set that belong to the history.",
            "prediction_date": "The last day of which anything is known.",
            "window_from": "The first day of the window.",
            "window_until": "The last day of the window.",
            "label": "Whether the outcome happened within the window.",
            "ended": "How following ended: with the outcome, the end of the window, death; or the label is from a file.",
            "followed_days": "Days from the first of the window to that end.",
            "had_before": "Whether the outcome was recorded in the history.",
        },
        lineage=lambda study: {
            "patient_id": PATIENT,
            "row": PATIENT,
            "side": ((DATA_SPLIT, "side"),),
            **dict.fromkeys(
                ("index_date", "history_from", "history_until", "prediction_date", "window_from", "window_until"),
                (*EVENT, (PATIENT_DATASET, "visits")),
            ),
            **dict.fromkeys(("label", "ended", "followed_days", "had_before"), EVENT),
        },
        counts_rows=False,
        group="data",
        kinds=("arrow", "parquet"),
    ),
)
