"""Apply a fitted task to new patients: calibrated risks, and the concepts on which the highest risks rest.

    ehr-pipeline predict --model CHECKPOINT --results TASK_RESULTS --task NAME --extract FOLDER --cut FILE --out FOLDER

    OUT/risks.parquet       one row for each row of `--cut`, in its order: the risk within the task's window, null without a history
    OUT/concepts.parquet    for the highest risks, the concepts without which their log-odds change most (occlusion: Zeiler &
                            Fergus 2014, section 4.2): each is left out of the history, and the risk is computed again
    OUT/task.json           the task, the model and its figures in the test set

All of this is patient data, and as restricted as the records.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.special import expit

from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.encoder.configuration import WEIGHTS
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.errors import InputError
from ehr_pipeline.export import apply
from ehr_pipeline.export.histories import blocks, ids_of, names_of
from ehr_pipeline.patients.histories import ALWAYS, cut, without_token
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.predictions.answers_job import mean_vectors
from ehr_pipeline.predictions.compare import Case, as_written
from ehr_pipeline.predictions.encoder_queries import Answers
from ehr_pipeline.predictions.features import of_histories
from ehr_pipeline.predictions.fitted import TUNED, Fitted
from ehr_pipeline.predictions.metrics import Calibration
from ehr_pipeline.predictions.metrics import log_odds as odds_of
from ehr_pipeline.predictions.models import BY_NAME, Model
from ehr_pipeline.predictions.query_at_mask import answers as answers_of
from ehr_pipeline.predictions.rows import JUDGE, People, Rows
from ehr_pipeline.predictions.settings import PredictionsSettings
from ehr_pipeline.predictions.table import Row, TaskResults, read_calibrations
from ehr_pipeline.predictions.tuned_weights import TunedModel
from ehr_pipeline.store import build_lock, integrity, publishing, secret_key
from ehr_pipeline.store.artifacts import Counts
from ehr_pipeline.study.settings import Study
from ehr_pipeline.tables import json_files, schemas
from ehr_pipeline.tasks import prediction_times
from ehr_pipeline.tasks.prediction_times import PredictionTimes
from ehr_pipeline.typed_settings import file_hash
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

AT_ONCE = 2_000
"""Number of histories in memory at a time."""
MOST_CONCEPTS, SHOWN = 64, 5
"""Largest number of a history's concepts left out one by one, the latest first; and largest number of them written."""
ENCODED = {"masked", "vectors"}
"""Blocks of features that need the encoder."""


@dataclass(frozen=True)
class Scorer:
    """A task's model with all inputs needed to apply it."""

    fitted: Fitted
    model: Model
    calibration: Calibration
    size: int
    """Number of token ids in the vocabulary."""
    encoder: PackedEncoder
    how: Inference
    tuned: TunedModel | None = None
    """The model, if it is fine-tuned."""

    @classmethod
    def of(
        cls, fitted: Fitted, model: Model, calibration: Calibration, size: int, at_work: tuple[PackedEncoder, Inference]
    ) -> "Scorer":
        """Return a task's model, with the encoder that it was made with. Raises Damaged."""
        facts, tuned = fitted.facts, None
        if model.name in fitted.tuned:
            path, head = fitted.tuned[model.name], model.name.removeprefix(TUNED)
            tuned = TunedModel.read(path, deepcopy(at_work[0]), head, facts.tokens, stops=facts.stops)
        return cls(fitted, model, calibration, size, *at_work, tuned)

    def rows(self, row: NDArray[np.int64], last_day: NDArray[np.int32]) -> Rows:
        """Return the task's rows for the patients in rows `row` (n,) of a shard, with the records up to `last_day` (n,)."""
        facts, known, nothing = self.fitted.facts, last_day.astype(np.int64), np.zeros(len(row))
        index, last = known - facts.last, known - facts.visit_window
        first = last - facts.lookback + 1 if facts.lookback else np.full(len(row), ALWAYS, np.int64)
        return Rows(
            shard=nothing.astype(np.int32),
            row=row,
            side=np.full(len(row), JUDGE, np.int8),
            patient=nothing.astype(np.uint64),
            index=index,
            first=first,
            last=last,
            known=known,
            opens=index + facts.opens,
            query_day=index + (facts.opens + facts.closes) // 2,
            label=nothing.astype(bool),
            weight=nothing + 1,
            prevalence=facts.prevalence,
        )

    def log_odds(self, histories: Shard, rows: Rows, female: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the recalibrated log-odds (n,) of the rows with these histories."""
        facts = self.fitted.facts
        if self.tuned:
            reads = self.tuned.reads_vectors
            vectors = mean_vectors(self.encoder, histories, self.how) if reads else np.zeros((len(rows), 0), np.float32)
            odds = self.tuned.log_odds(histories, rows.query_day, (self.how, facts.tokens_before), vectors)
            return odds_of(self.calibration.apply(as_written(odds)))
        tokens = np.array(facts.tokens, np.int64)
        answers = {"": self._answers(histories, rows, tokens)} if ENCODED & {*self.model.features} else {}
        of_rows, people = of_histories(histories, rows, self.size), People(female, {})
        case = Case(rows, of_rows, people, tokens, answers, PredictionsSettings(), 0, facts.stops)
        plain = as_written(self.fitted.log_odds(case, self.model))
        return odds_of(self.calibration.apply(plain))

    def _answers(self, histories: Shard, rows: Rows, tokens: NDArray[np.int64]) -> Answers:
        mean = mean_vectors(self.encoder, histories, self.how)
        before = self.fitted.facts.tokens_before
        state, odds = answers_of(self.encoder, histories, rows.query_day, self.how, before, lists=[tokens])
        return Answers(np.hstack([mean, state]), odds[:, 0].astype(np.float64))


@dataclass(frozen=True)
class ScoredRows:
    """The columns of the result (N,), in the order of the file."""

    odds: NDArray[np.float64]
    """Recalibrated log-odds of each row; NaN for a row without a history."""
    tokens: NDArray[np.int64]
    had_before: NDArray[np.bool_]
    shard: NDArray[np.int64]
    """Number of the patient's shard; -1 for a patient in no shard."""
    row: NDArray[np.int64]


@dataclass(frozen=True)
class Folders:
    """The folders of the model, the results, and the extract to apply them to."""

    model: Path
    results: Path
    extract: Path


def predict(study: Study, folders: Folders, task: str, file: Path, out: Path, *, explained: int = 100) -> Counts:
    """Publish the folder `out` in one step, and return counts. `task` is a task's name, or the name of its files; `file` is the
    file given with `--cut`.

    Raises InputError for folders that do not belong together, an unknown task, or an invalid file.
    """
    publishing.refuse_existing(out)
    for folder in (folders.model, folders.results):
        integrity.verify_copy(folder)
    vocabulary, results = Vocabulary.read(folders.model), TaskResults.read(folders.results)
    verdict = _verdict(results, task)
    fitted = Fitted.read(folders.results, verdict["task"])
    if fitted.facts.vocabulary != vocabulary.hash:
        raise InputError(
            f"{folders.results} was made with another vocabulary than {folders.model}. --model and --results must come from"
            " the same study."
        )
    model = _applied(fitted, verdict, results)
    if ENCODED & {*model.features} and fitted.facts.checkpoint != file_hash(folders.model / WEIGHTS):
        raise InputError(
            f"{folders.results} was made with another encoder than {folders.model}. --model and --results must come from the"
            " same study."
        )
    calibration = read_calibrations(folders.results, verdict["task"]).get(model.name, Calibration(1.0, 0.0))
    given = prediction_times.read(file, names_of(study.records))
    whole = replace(study, patients=replace(study.patients, min_visits=1, visit_window_days=fitted.facts.visit_window))
    with build_lock.scratch(Path(study.study.store)) as work:
        apply.patients(whole, folders.model, folders.extract, work)
        with apply.model_at_work(study, folders.model, vocabulary) as at_work:
            scorer = Scorer.of(fitted, model, calibration, vocabulary.size, at_work)
            paths = apply.shards(work)
            scored = _scores(scorer, given, paths, study)
            highest = np.argsort(-np.nan_to_num(scored.odds, nan=-np.inf), kind="stable")[:explained]
            highest = highest[np.isfinite(scored.odds[highest])]
            rests_on = list(_explained(scorer, scored, given, paths, np.sort(highest)))
        with publishing.whole(out) as part:
            part.mkdir()
            _write(part, given, scored, rests_on, vocabulary)
            json_files.write(part / "task.json", _facts(verdict, results, model.name))
    return {
        "rows_in": len(given.ids),
        "with_risk": int(np.isfinite(scored.odds).sum()),
        "not_in_extract": int((scored.shard < 0).sum()),
        "explained": len(highest),
    }


def _verdict(results: TaskResults, task: str) -> Row:
    """Return the verdict on a task. Raises InputError if there is no such task, or if no model was fitted for it."""
    found = next((row for row in results.verdicts if task in (row["task"], row["name"])), None)
    if found is None:
        known = ", ".join(row["task"] for row in results.verdicts)
        raise InputError(f"--task: there is no task {task!r}. Tasks: {known or 'none'}.")
    if not found["model"]:
        raise InputError(
            f"--task: {task!r} has too few cases, so no model was fitted. Choose another task, or change its outcome or window"
            " and build task_results again."
        )
    return found


INSTEAD = ("masked_recency", "vectors_masked", "vectors", "masked")
"""Models that may replace a fine-tuned one whose weights were not kept; the first of these that was fitted is applied."""


def _applied(fitted: Fitted, verdict: Row, results: TaskResults) -> Model:
    """Return the model of the verdict or, if its weights were not kept, its replacement. Raises InputError without either."""
    for name in (verdict["model"], *INSTEAD):
        if fitted.applies(name) and results.final(verdict["task"], name) is not None:
            return BY_NAME[name]
    raise InputError(
        f"--task: the model of {verdict['task']!r} is fine-tuned, and its weights were not kept. Set"
        " predictions.fine_tuning.keep_weights = true, or add one of"
        f" {', '.join(INSTEAD)} to predictions.models. Then rebuild task_results (ehr-pipeline run)."
    )


def _scores(scorer: Scorer, given: PredictionTimes, paths: list[Path], study: Study) -> ScoredRows:
    """Score all rows, shard by shard, a block at a time."""
    count, key = len(given.ids), secret_key.read(Path(study.study.store))
    none = np.full(count, -1)
    found = ScoredRows(np.full(count, np.nan), np.zeros(count, np.int64), np.zeros(count, bool), none, none.copy())
    outcome = np.array(scorer.fitted.facts.tokens, np.int64)
    for number, path in enumerate(paths):
        shard, row = Shard.read(path), given.rows(ids_of(schemas.read(path, ["patient_id"])), key)
        here = np.flatnonzero(row >= 0)
        found.shard[here], found.row[here] = number, row[here]
        for own in blocks(here, AT_ONCE):
            rows = scorer.rows(row[own], given.last_day[own])
            histories = cut(shard, rows.row, rows.first, rows.last)
            sizes = np.diff(histories.patient_tokens)
            odds = scorer.log_odds(histories, rows, People.read([path], rows, ()).female)
            owner = np.repeat(np.arange(len(own)), sizes)
            found.tokens[own] = sizes
            found.had_before[own] = np.bincount(owner, np.isin(histories.tokens, outcome), len(own)) > 0
            found.odds[own] = np.where(sizes > 0, odds, np.nan)
    return found


def _explained(
    scorer: Scorer, scored: ScoredRows, given: PredictionTimes, paths: list[Path], rows: NDArray[np.int64]
) -> Iterator[tuple[int, int, float]]:
    """Yield, for some rows of the file: row, a token id whose removal changes the log-odds most, and its contribution to them."""
    for number in rows.tolist():
        path = paths[scored.shard[number]]
        one = scorer.rows(scored.row[[number]], given.last_day[[number]])
        history = cut(Shard.read(path), one.row, one.first, one.last)
        tokens = np.array(list(dict.fromkeys(history.tokens[::-1].tolist()))[:MOST_CONCEPTS], np.int64)
        again = one.take(np.zeros(len(tokens), np.int64))
        copies = cut(history, np.zeros(len(tokens), np.int64), again.first, again.last)
        female = np.repeat(People.read([path], one, ()).female, len(tokens))
        adds = scored.odds[number] - scorer.log_odds(without_token(copies, tokens), again, female)
        for place in np.argsort(-np.abs(adds), kind="stable")[:SHOWN].tolist():
            yield number, int(tokens[place]), float(adds[place])


def _write(
    folder: Path,
    given: PredictionTimes,
    scored: ScoredRows,
    rests_on: list[tuple[int, int, float]],
    vocabulary: Vocabulary,
) -> None:
    who = prediction_times.SUBJECT if given.by_subject else prediction_times.PATIENT
    day = pa.array(given.last_day).cast(pa.date32())
    absent = ~np.isfinite(scored.odds)
    columns = {
        who: given.ids,
        "cut": day,
        "tokens": pa.array(scored.tokens),
        "had_outcome_before": pa.array(scored.had_before),
        "predicted_boolean_probability": pa.array(expit(scored.odds), mask=absent),
    }
    pq.write_table(pa.table(columns), folder / "risks.parquet")
    rows = np.array([number for number, _, _ in rests_on], np.int64)
    concepts = [vocabulary.concepts[token - FIRST_CONCEPT] for _, token, _ in rests_on]
    table = {
        who: given.ids.take(pa.array(rows)),
        "cut": day.take(pa.array(rows)),
        "concept": pa.array([one.concept for one in concepts], pa.string()),
        "name": pa.array([one.name for one in concepts], pa.string()),
        "adds_to_log_odds": pa.array([adds for _, _, adds in rests_on], pa.float64()),
    }
    pq.write_table(pa.table(table), folder / "concepts.parquet")


def _facts(verdict: Row, results: TaskResults, applied: str) -> dict[str, object]:
    """Return what a reader of the risks has to know about the model."""
    final = results.final(verdict["task"], applied)
    assert final is not None
    return {
        "class": "restricted: about patients",
        "not": "a medical device; not to be used for decisions about a patient",
        **{
            name: verdict[name]
            for name in ("task", "name", "verdict", "model", "baseline", "rule_auroc", "baseline_auroc")
        },
        "applied model": applied,
        "in the test set": {
            f"{name}{end}": final[f"{name}{end}"]
            for name in ("auroc", "slope_after", "intercept_after")
            for end in ("", "_low", "_high")
        },
    }
