"""The declarations of the assets of clinical tasks."""

from collections.abc import Mapping
from pathlib import Path

from ehr_pipeline.assets import identity
from ehr_pipeline.assets.asset import Asset
from ehr_pipeline.assets.data import EVENT, PATIENT
from ehr_pipeline.checks import patients, predictions, rows, tasks
from ehr_pipeline.checks.model import Check
from ehr_pipeline.prediction_report import PAGE
from ehr_pipeline.predictions import result_schemas
from ehr_pipeline.store.artifacts import Artifact, Counts, Store
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import schemas
from ehr_pipeline.tables.asset_names import (
    DATA_SPLIT,
    ENCODER_CHECKPOINT,
    EXTRACT_CATALOG,
    FORECASTS,
    MAPPED_EVENTS,
    PATIENT_DATASET,
    PREDICTION_REPORT,
    TASK_LABELS,
    TASK_RESULTS,
    VOCABULARY,
)
from ehr_pipeline.work.jobs import Launch

PAGE_SOURCES = (
    *("predictions/metrics.py", "predictions/result_schemas.py"),
    *("reports/page.css", "reports/page.html.j2", "reports/page.js"),
)
"""Files, beyond the page's package and the modules that it imports, that determine the page of predictions."""


def _task_results(study: Study, read: Mapping[str, Artifact], launch: Launch, out: Path) -> Counts:
    """Fit and evaluate the models of all tasks."""
    from ehr_pipeline.predictions import build
    from ehr_pipeline.predictions.answers_job import AnswersJob
    from ehr_pipeline.predictions.encoder_queries import work_of
    from ehr_pipeline.store import secret_key

    settings = study.predictions
    job = identity.encoder_job(
        AnswersJob,
        study,
        read,
        work_of(out),
        batch_tokens=settings.batch_tokens,
        tokens_before=settings.tokens_before,
        means=True,
        untrained=build.needs_untrained(settings),
    )
    attributes = tuple(name for name in study.reports.audited if name in study.attributes)
    how = build.How(
        settings, attributes, study.study.seed, secret_key.of(Store(study.study.store).root), study.study.shifted_dates
    )
    return build.build(read, how, job, out, launch)


def _prediction_report(study: Study, read: Mapping[str, Artifact], launch: Launch, out: Path) -> Counts:
    """Write the page of predictions."""
    from ehr_pipeline.disclosure.figures import Naming
    from ehr_pipeline.prediction_report import build

    naming = Naming(study.reports.suppress_below, read[DATA_SPLIT].manifest["settings"]["key"])
    return build.build(read, naming, study.study.name, study.governance.terms, out)


TASKS = (
    Asset(
        name=TASK_LABELS,
        description="Labels of clinical tasks: who is included and from which day, what happened afterwards, and who"
        " is excluded and why. Empty without `[tasks]`.",
        reads=(EXTRACT_CATALOG, MAPPED_EVENTS, VOCABULARY, PATIENT_DATASET, DATA_SPLIT),
        version="8",
        section="tasks",
        also=(identity.of_tasks,),
        checks=(
            rows.rows_conserved,
            tasks.history_before_label,
            tasks.test_side_labelled,
            tasks.index_before_outcome,
            Check(
                "enough_cases",
                f"Each task has at least {tasks.FEWEST_CASES} cases in the test set.",
                tasks.enough_cases,
                blocking=False,
            ),
            tasks.few_leave,
        ),
        columns=lambda study: schemas.TASK_LABELS,
        meanings={
            "task": "Number of the task in tasks.json.",
            "index_date": "The day on which the prediction is made.",
            "history_from": "The first day of the history; empty: all of it is used.",
            "history_until": "The last date of visits of the data set that belong to the history.",
            "prediction_date": "The last day whose events are known.",
            "window_from": "The first day of the window.",
            "window_until": "The last day of the window.",
            "label": "Whether the outcome happened within the window.",
            "ended": "How follow-up ended: with the outcome, the end of the window, death; or the label is from a file.",
            "followed_days": "Days from the first day of the window to the end of follow-up.",
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
        group="predictions",
        kinds=("arrow", "parquet"),
    ),
)

PREDICTIONS = (
    Asset(
        name=TASK_RESULTS,
        description="Predictions of the clinical tasks by the encoder and by simpler models, compared on held-out"
        " patients. Empty without `[tasks]`.",
        reads=(VOCABULARY, PATIENT_DATASET, TASK_LABELS, ENCODER_CHECKPOINT),
        version="18",
        build=_task_results,
        heavy=True,
        section="predictions",
        also=(identity.of_predictions,),
        checks=(
            predictions.of_guard(
                result_schemas.NO_FUTURE,
                "No history contains a visit after its last day, which is before the window.",
                name="nothing_after_the_cut",
            ),
            predictions.of_guard(
                result_schemas.UNSEEN,
                "The encoder was not trained on any patient of the test set, according to the hashes of its training patients.",
            ),
            predictions.of_guard(result_schemas.PERMUTED, "Permuted labels cannot be predicted."),
            predictions.of_guard(
                result_schemas.INDEX_RULE,
                "Index dates are chosen by a rule that does not read the outcome.",
                blocking=False,
            ),
            predictions.of_guard(
                result_schemas.RULE_OF_THUMB,
                "No task is solved by age and sex, alone or with amount of record and calendar time.",
                blocking=False,
            ),
            predictions.of_guard(
                result_schemas.DECIDING,
                "There is no concept after which the outcome always, nearly always or never follows.",
                blocking=False,
            ),
            predictions.of_guard(
                result_schemas.GROUPS,
                "No group of an audited attribute (such as a practice) lacks cases where chance would give some.",
                blocking=False,
            ),
            predictions.of_guard(result_schemas.CASES, "Each task has enough cases to be judged by.", blocking=False),
        ),
        columns=lambda study: result_schemas.RESULTS,
        meanings=result_schemas.MEANINGS,
        lineage=lambda study: {
            name: ((TASK_LABELS, "label"), (PATIENT_DATASET, "visits"))
            for name in result_schemas.RESULTS.names
            if name not in ("task", "model", "labels", "replicate")
        },
        counts_rows=False,
        group="predictions",
        kinds=("torch", "scikitlearn", "csv"),
    ),
    Asset(
        name=PREDICTION_REPORT,
        description="One self-contained page: how the model compares with counting, task by task, and where it is not"
        " needed. Empty without `[tasks]`.",
        reads=(VOCABULARY, DATA_SPLIT, FORECASTS, TASK_LABELS, TASK_RESULTS),
        build=_prediction_report,
        version=identity.version_of_page("prediction_report", *PAGE_SOURCES),
        section="reports.suppress_below",
        also=(lambda study: {"study": study.study.name, "terms": study.governance.terms},),
        checks=(patients.page_whole(PAGE, applies=lambda study: study.tasks.any),),
        counts_rows=False,
        group="reports",
        kinds=("html",),
        pictures={"learning curve": "notes/curve.png"},
        released=(PAGE,),
    ),
)
