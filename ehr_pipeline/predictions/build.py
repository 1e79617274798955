"""Make `task_results`: compare all models of all tasks on the same patients, with guards, in the tables of `predictions.table`.

The encoder answers the queries of all tasks in one job. Then the models of one task after the other are fitted and evaluated, so
that memory does not grow with the number of tasks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ehr_pipeline.predictions import fitted, guards, result_schemas, result_tables, tuning_inputs
from ehr_pipeline.predictions.answers_job import UNTRAINED, AnswersJob
from ehr_pipeline.predictions.compare import Case, Fit, fits_of, models_of, scorable
from ehr_pipeline.predictions.encoder_queries import AnsweredQueries
from ehr_pipeline.predictions.features import recorded
from ehr_pipeline.predictions.learners import Table
from ehr_pipeline.predictions.models import BY_NAME, Model
from ehr_pipeline.predictions.rows import FIT, JUDGE, People, Rows, read
from ehr_pipeline.predictions.settings import PredictionsSettings
from ehr_pipeline.predictions.table import CALIBRATIONS, PREDICTED, PREDICTIONS, TaskResults, empty, joined
from ehr_pipeline.store.artifacts import Artifact, Counts
from ehr_pipeline.store.secret_key import Key
from ehr_pipeline.tables import align, json_files, schemas
from ehr_pipeline.tables.asset_names import ENCODER_CHECKPOINT, PATIENT_DATASET, TASK_LABELS, VOCABULARY
from ehr_pipeline.tasks import meds
from ehr_pipeline.tasks.table import Definition, definitions
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary
from ehr_pipeline.work.jobs import Launch
from ehr_pipeline.work.progress import Progress
from ehr_pipeline.work.threads import one_thread


@dataclass(frozen=True)
class How:
    """Values that determine the results of all tasks, in addition to the artifacts."""

    settings: PredictionsSettings
    attributes: tuple[str, ...]
    """Columns of the patient data set whose values define subgroups."""
    seed: int
    key: Key
    """The store's key, for subject ids and for the hashes of the encoder's training patients."""
    shifted_dates: bool = False
    """Whether each patient's dates are shifted, so that the year of an index date means nothing."""


def build(artifacts: Mapping[str, Artifact], how: How, job: AnswersJob, out: Path, launch: Launch) -> Counts:
    """Write the tables into `out`. Returns the number of tasks, and the number of tasks with too few cases."""
    tasks = definitions(artifacts[TASK_LABELS].path)
    if not tasks:
        empty().write(out)
        return {"tasks": 0, "too_few": 0}
    vocabulary = Vocabulary.read(artifacts[VOCABULARY].path)
    dataset = artifacts[PATIENT_DATASET].files("patients")
    labels = artifacts[TASK_LABELS].path
    chosen = [(read(labels, each, how.settings.patients, how.seed), _tokens(each, vocabulary)) for each in tasks]
    scored = [number for number, (rows, _) in enumerate(chosen) if scorable(rows)]
    answered = AnsweredQueries.run(job, [chosen[number] for number in scored], launch)
    if how.settings.fine_tuning.heads and scored:
        to_tune = [
            tuning_inputs.TuningTask(tasks[number].slug, *chosen[number], _stops(tasks[number])) for number in scored
        ]
        tuning_inputs.tune(job, to_tune, answered, how.settings, how.seed, launch=launch)
    progress = _Progress.of([len(chosen[number][0]) for number in scored], how.settings)
    parts = []
    for number, definition in enumerate(tasks):
        rows, tokens = chosen[number]
        recorded_concepts, people = recorded(dataset, rows, vocabulary.size), People.read(dataset, rows, how.attributes)
        if how.shifted_dates:
            recorded_concepts = recorded_concepts.without_dates()
        groups = _groups(definition, rows, people, of_years=not how.shifted_dates)
        if number not in scored:
            too_few = result_tables.too_few(
                definition, Case(rows, recorded_concepts, people, tokens, {}, how.settings, how.seed)
            )
            # Groups in which the outcome is not recorded may be why there are too few cases.
            parts.append(replace(too_few, guards=(*too_few.guards, groups)))
            continue
        place = scored.index(number)
        answers = {"": answered.answers(rows, place)}
        if job.untrained:
            answers[UNTRAINED] = answered.answers(rows, place, untrained=True)
        tuned = tuning_inputs.answers(job.work, definition.slug)
        case = Case(rows, recorded_concepts, people, tokens, answers, how.settings, how.seed, _stops(definition), tuned)
        with one_thread():
            made = _task(definition, case, (vocabulary, job), (dataset, how.key), out, progress=progress)
        parts.append(replace(made, guards=(*made.guards, groups)))
    checkpoint = artifacts[ENCODER_CHECKPOINT]
    seen = guards.not_trained_on(checkpoint, how.key, _test_side(dataset, [rows for rows, _ in chosen]))
    results = result_tables.with_verdicts(joined(parts))
    TaskResults(**vars(results) | {"guards": (seen, *results.guards)}).write(out)
    job.remove()
    return {"tasks": len(tasks), "too_few": len(tasks) - len(scored)}


def _tokens(definition: Definition, vocabulary: Vocabulary) -> NDArray[np.int64]:
    """Return the token ids of those outcome concepts that are in the vocabulary."""
    known = [vocabulary.token_of[concept] for concept in definition.outcome if concept in vocabulary.token_of]
    return np.array(sorted(known), np.int64)


def _stops(definition: Definition) -> bool:
    """Return whether the outcome is the end of a treatment: its concepts are no longer recorded."""
    return bool(definition.rule["kind"] == "stop")


def _task(
    definition: Definition,
    case: Case,
    made_with: tuple[Vocabulary, AnswersJob],
    store: tuple[Sequence[Path], Key],
    out: Path,
    *,
    progress: "_Progress",
) -> TaskResults:
    """Fit and evaluate the models of a task, and write their predictions."""
    fits, rows, slug = _fitted(definition, case, progress), case.rows, definition.slug
    vocabulary, job = made_with
    tables = result_tables.tables(definition, case, fits)
    progress.judged(len(rows), definition.name)
    table = Table.of(
        [case.block("counts", case.concepts), case.block("recency", case.concepts)], rows.on(FIT), free=False
    )
    listed = [
        {
            "task": slug,
            "concept": vocabulary.concepts[token - FIRST_CONCEPT].concept,
            "name": vocabulary.concepts[token - FIRST_CONCEPT].name,
            **counts,
        }
        for token, counts in guards.deciding(rows, case.recorded.counts, np.setdiff1d(case.concepts, case.tokens))
    ]
    message = (
        f"number of concepts after which the outcome always, nearly always or never follows: {len(listed)}"
        if listed
        else "no single concept determines the outcome"
    )
    guard_rows = (
        guards.no_future(slug, rows, case.recorded.latest),
        guards.index_rule(definition),
        guards.row(result_schemas.DECIDING, slug, not listed, message),
        guards.permuted_labels(slug, rows, table, case.seed),
    )
    _write_predictions(definition, rows, fits, store, out)
    _write_calibrations(slug, fits, out)
    folder = out / fitted.FITTED / slug
    fitted.write(definition, case, fits, (vocabulary, job.checkpoint), folder)
    fitted.keep_tuned(job.work, slug, tables.verdicts[0]["model"], folder)
    return TaskResults(**vars(tables) | {"guards": (*tables.guards, *guard_rows), "deciding_concepts": tuple(listed)})


def _groups(definition: Definition, rows: Rows, people: People, *, of_years: bool) -> dict[str, Any]:
    """Look for groups of patients, and years, in which no case is recorded. An outcome may well not occur in one sex."""
    attributes = {name: values for name, values in people.attributes.items() if name != "sex"}
    return guards.groups_without_cases(definition.slug, rows, attributes, of_years=of_years)


def _fitted(definition: Definition, case: Case, progress: "_Progress") -> list[Fit]:
    """Fit the models of a task."""
    fits: list[Fit] = []
    for model in models_of(case):
        fits += fits_of(case, model)
        progress.fitted(model, len(case.rows), definition.name)
    return fits


_TO_JUDGE = 1.0
"""Time to evaluate a row, in the unit of `_effort`."""


def _effort(model: Model) -> float:
    """Return the approximate time to fit a model on one row, to estimate the time left. Unit: the time of a model of counts."""
    if model.learner in ("none", "tuned"):  # fine-tuned models were trained before
        return 0.0
    return 1.0 if model.learner == "boosting" or "counts" in model.features else 0.1


@dataclass(frozen=True)
class _Progress:
    """Logs progress and the time left, while the models of all tasks are fitted and evaluated."""

    progress: Progress

    @classmethod
    def of(cls, rows: Sequence[int], settings: PredictionsSettings) -> "_Progress":
        """Start the progress of tasks with these numbers of `rows`."""
        effort = sum(_effort(BY_NAME[name]) for name in settings.chosen) + _TO_JUDGE
        return cls(Progress("fitting and judging the models of tasks", sum(rows) * effort))

    def fitted(self, model: Model, rows: int, task: str) -> None:
        """Count a fitted model of a task with this number of `rows`."""
        self.progress.advance(rows * _effort(model), f"{task}: {model.title}")

    def judged(self, rows: int, task: str) -> None:
        """Count a task whose models have all been evaluated."""
        self.progress.advance(rows * _TO_JUDGE, f"{task}: judged")


def _ids(dataset: Sequence[Path], rows: Rows) -> pa.Array:
    """Return the patient ids of some rows (n,)."""
    parts = []
    for number, path in enumerate(dataset):
        shard_rows = pa.array(rows.row[rows.shard == number])
        parts.append(align.one_chunk(schemas.read(path, ["patient_id"]).column("patient_id").take(shard_rows)))
    return pa.concat_arrays(parts)


def _test_side(dataset: Sequence[Path], tasks: Sequence[Rows]) -> pl.Series:
    """Return the ids of all patients in the test sets of the tasks, each once."""
    ids = [pl.Series(_ids(dataset, rows.take(rows.on(JUDGE)))) for rows in tasks]
    return pl.concat(ids).unique() if ids else pl.Series([], dtype=pl.String)


def _write_predictions(
    definition: Definition, rows: Rows, fits: Sequence[Fit], store: tuple[Sequence[Path], Key], out: Path
) -> None:
    """Write the predictions in the test set of every model that was fitted with all labels, or needs none."""
    dataset, key = store
    test = rows.take(rows.on(JUDGE))
    ids = _ids(dataset, test).to_pylist()
    subjects = {patient: meds.subject_id(patient, key) for patient in set(ids)}
    columns = [
        pa.array([subjects[patient] for patient in ids], pa.int64()),
        meds.prediction_time(test.known.astype(np.int32)),
        pa.array(test.label),
        pa.nulls(len(test), pa.bool_()),
    ]
    folder = out / PREDICTIONS / definition.slug
    folder.mkdir(parents=True, exist_ok=True)
    for fit in fits:
        if fit.final:
            probability = pa.array(fit.probability.astype(np.float32))
            pq.write_table(pa.table([*columns, probability], schema=PREDICTED), folder / f"{fit.model.name}.parquet")


def _write_calibrations(slug: str, fits: Sequence[Fit], out: Path) -> None:
    """Write the recalibration of the models fitted with all labels, for `read_calibrations`."""
    calibrations = {
        fit.model.name: {"slope": fit.calibration.slope, "intercept": fit.calibration.intercept}
        for fit in fits
        if fit.final and fit.calibration
    }
    path = out / CALIBRATIONS / f"{slug}.json"
    path.parent.mkdir(exist_ok=True)
    json_files.write(path, calibrations)


def needs_untrained(settings: PredictionsSettings) -> bool:
    """Return whether the comparison includes an encoder with untrained weights."""
    return any(BY_NAME[name].kind == "control" for name in settings.chosen)
