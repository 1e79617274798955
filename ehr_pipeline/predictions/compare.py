"""Fit all models of one task on the same rows, and evaluate them on the same patients: those of the test set.

Axes: n rows of the task, J of them in the test set.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ehr_pipeline.predictions import learners, metrics, recalibration
from ehr_pipeline.predictions.encoder_queries import Answers
from ehr_pipeline.predictions.features import RecordedConcepts, age_and_sex, counted_concepts, history_of
from ehr_pipeline.predictions.learners import Block, Sample, Table
from ehr_pipeline.predictions.metrics import Bootstrap, Calibration
from ehr_pipeline.predictions.models import BOOSTED_FROM, BY_NAME, Model
from ehr_pipeline.predictions.rows import FIT, JUDGE, TUNE, People, Rows
from ehr_pipeline.predictions.settings import PredictionsSettings, replicates
from ehr_pipeline.predictions.table import FEWEST_TO_CHOOSE

Floats = NDArray[np.float64]
FEWEST_CASES = 50
"""A model is scored only with at least this many cases in the test set, and as many non-cases."""
FEWEST_FITTED = 10
"""Fewest cases, and fewest non-cases, to fit a model on."""

Tuned = Callable[[str, int | None, int], Floats]
Labelled = tuple[int | None, int, Sample]
"""A number of labels (None: all), the number of the replicate, and the sample."""


def samples_of(rows: Rows, settings: PredictionsSettings, seed: int) -> tuple[Labelled, ...]:
    """Return the labelled samples of a task, for all sizes and replicates. The last sample has all labels."""
    fit = rows.on(FIT)
    everything, labelled = Sample(fit, rows.label[fit], rows.weight[fit], rows.prevalence), list[Labelled]()
    for replicate in range(max((replicates(size) for size in settings.labels), default=0)):
        sizes = [size for size in settings.labels if replicate < replicates(size)]
        rng = np.random.default_rng([seed, 0x5A, replicate])
        for size, chosen in learners.nested(everything.label, sizes, rng).items():
            labelled.append((size, replicate, everything.take(chosen)))
    return (*labelled, (None, 0, everything))


@dataclass(frozen=True)
class Case:
    """A task with all inputs of its models. `answers` are the encoder's, with trained ('') and new weights ('_untrained')."""

    rows: Rows
    recorded: RecordedConcepts
    people: People
    tokens: NDArray[np.int64]
    """Token ids of the outcome; none for a death."""
    answers: Mapping[str, Answers]
    settings: PredictionsSettings
    seed: int
    stops: bool = False
    """Whether the outcome is that its concepts are no longer recorded. High log-odds of these concepts then count against it."""
    tuned: Tuned | None = None
    """Function of a model, a number of labels (None: all) and a replicate. Returns log-odds (n,) of the fine-tuned encoder, NaN
    in the training set."""

    @cached_property
    def concepts(self) -> NDArray[np.int64]:
        """The concepts (c,) that serve as features."""
        return counted_concepts(self.recorded, self.rows, self.settings.concepts)

    @cached_property
    def boosted(self) -> NDArray[np.int64]:
        """The concepts that serve as features of gradient boosting, which uses at most as many as the other models."""
        return counted_concepts(self.recorded, self.rows, min(self.settings.boosted_concepts, self.settings.concepts))

    @cached_property
    def samples(self) -> tuple[Labelled, ...]:
        """All samples that models are fitted on."""
        return samples_of(self.rows, self.settings, self.seed)

    def block(self, name: str, concepts: NDArray[np.int64]) -> Block:
        """Return a block of features (n, p)."""
        sign = -1.0 if self.stops else 1.0
        match name.partition("_"):
            case ("counts", _, _):
                return self.recorded.counts[:, concepts].log1p()
            case ("recency", _, _):
                return self.recorded.recency[:, concepts]
            case ("amounts", _, _):
                return self.recorded.amounts
            case ("history", _, _):
                return sign * history_of(self.recorded, self.tokens)
            case ("masked", _, _):
                return sign * self.answers[name.removeprefix("masked")].odds[:, None]
            case ("vectors", _, _):
                return self.answers[name.removeprefix("vectors")].vectors
        return age_and_sex(self.recorded, self.people)

    def possible(self, model: Model) -> bool:
        """Return whether the model can predict this outcome. Some models need concepts of the outcome, and a death has none."""
        asks = {"masked", "masked_untrained", "history"} & {*model.features}
        return not asks or bool(len(self.tokens))

    def scored(self, fitted: Floats) -> tuple[Floats, Floats]:
        """Turn log-odds (n,) into probabilities on the validation set, and on the test set."""
        probability = as_written(fitted)
        return probability[self.rows.on(TUNE)], probability[self.rows.on(JUDGE)]


def score(case: Case, model: Model) -> Floats:
    """Return the score (n,) of a model that needs no labels, in log-odds; for a baseline, plus those of the prevalence."""
    usual = learners.usual(case.rows.prevalence) if model.kind == "baseline" else 0.0
    (name,) = model.features
    return np.asarray(case.block(name, np.zeros(0, np.int64))[:, 0], np.float64) + usual


def as_written(odds: Floats) -> Floats:
    """Turn log-odds into probabilities (n,), rounded to the single precision in which they are written."""
    probability: Floats = expit(odds).astype(np.float32).astype(np.float64)
    return probability


@dataclass(frozen=True)
class Fit:
    """A fitted model: its probabilities on the test set, and their recalibration."""

    model: Model
    labels: int | None
    """Number of labels that it was fitted with; None: all."""
    replicate: int
    probability: Floats
    """Probabilities in the test set (J,), before recalibration."""
    calibration: Calibration | None
    """Fitted in the validation set; None if this side has too few cases."""
    tuned: float
    """AUROC in the validation set."""
    weights: Floats | None
    """Weights of a logistic regression with all labels: one for each unscaled column, then the intercept."""

    @property
    def final(self) -> bool:
        """Whether it is fitted with all labels, or needs none."""
        return self.labels is None or self.labels == 0

    @property
    def recalibrated(self) -> Floats:
        """Probabilities in the test set after recalibration; unchanged if there is no recalibration."""
        return self.calibration.apply(self.probability) if self.calibration else self.probability


def models_of(case: Case) -> list[Model]:
    """Return the models in the settings that can predict the outcome of a task."""
    return [model for name in case.settings.chosen if case.possible(model := BY_NAME[name])]


def fits(case: Case) -> Iterator[Fit]:
    """Fit all models of a task with each number of labels."""
    for model in models_of(case):
        yield from fits_of(case, model)


def fits_of(case: Case, model: Model) -> Iterator[Fit]:
    """Fit one model of a task with each number of labels."""
    learn = _learner(case, model)
    if model.learner == "none" or not model.features:
        yield _fit(case, model, 0, 0, learn(*case.samples[-1]))
        return
    for labels, replicate, sample in case.samples:
        if model.learner != "boosting" or len(sample.rows) >= BOOSTED_FROM:
            yield _fit(case, model, labels, replicate, learn(labels, replicate, sample))


def _learner(case: Case, model: Model) -> Callable[[int | None, int, Sample], tuple[Floats, Floats | None]]:
    """Return a function that fits the model on a sample, and returns log-odds (n,) and weights. Computes the features once."""
    if model.learner == "none":
        return lambda labels, replicate, sample: (score(case, model), None)
    if model.learner == "tuned":
        tuned = case.tuned
        assert tuned is not None
        return lambda labels, replicate, sample: (tuned(model.name, labels, replicate), None)
    if not model.features:
        return lambda labels, replicate, sample: (learners.constant(sample, len(case.rows)), None)
    concepts = case.boosted if model.learner == "boosting" else case.concepts
    blocks = [case.block(name, concepts) for name in model.features]
    if model.learner == "boosting":
        dense = np.hstack([np.asarray(block.toarray() if hasattr(block, "toarray") else block) for block in blocks])
        return lambda labels, replicate, sample: (learners.boosting(dense.astype(np.float32), sample, case.seed), None)
    table = Table.of(blocks, case.rows.on(FIT), free=model.free)
    return lambda labels, replicate, sample: learners.logistic(table, sample, case.seed)


def _fit(case: Case, model: Model, labels: int | None, replicate: int, result: tuple[Floats, Floats | None]) -> Fit:
    rows, (tuned, judged) = case.rows, case.scored(result[0])
    tune = rows.on(TUNE)
    label, weight = rows.label[tune], rows.weight[tune]
    return Fit(
        model,
        labels,
        replicate,
        judged,
        recalibration.learned(label, tuned, weight, None if model.is_probability else rows.prevalence),
        metrics.auroc(label, tuned, weight) if len(tune) else float("nan"),
        result[1] if labels is None else None,
    )


@dataclass(frozen=True)
class TestSet:
    """The test set of a task: labels, weights, and bootstrap draws of patients."""

    label: NDArray[np.bool_]
    weight: Floats
    patient: NDArray[np.uint64]
    """Hash of each row's patient."""
    bootstrap: Bootstrap

    @classmethod
    def of(cls, case: Case) -> "TestSet":
        """Take the test set of a task, and draw the bootstrap samples of its patients."""
        rows = case.rows.take(case.rows.on(JUDGE))
        draws = Bootstrap(rows.patient, rows.weight, case.settings.bootstrap, case.seed)
        return cls(rows.label, rows.weight, rows.patient, draws)

    @cached_property
    def patients(self) -> int:
        """The number of patients."""
        return len(np.unique(self.patient))

    def row(self, slug: str, fit: Fit, draws: Floats | None) -> dict[str, Any]:
        """Return the row of results of a fitted model. `draws` are its AUROCs in the bootstrap draws, for the interval."""
        label, weight, before = self.label, self.weight, fit.probability
        low, high = metrics.interval(draws) if draws is not None else (None, None)
        is_probability = fit.model.is_probability
        return {
            "task": slug,
            "model": fit.model.name,
            "labels": fit.labels,
            "replicate": fit.replicate,
            "patients": self.patients,
            "rows": len(label),
            "cases": int(label.sum()),
            "auroc": metrics.auroc(label, before, weight),
            "auroc_low": low,
            "auroc_high": high,
            "average_precision": metrics.average_precision(label, before, weight),
            "prevalence": float(np.average(label, weights=weight)),
            "brier": metrics.brier(label, before, weight) if is_probability else None,
            "brier_skill": metrics.brier_skill(label, before, weight) if is_probability else None,
            **self._calibrated("", before if is_probability else None, fit.final),
            **self._calibrated("_after", fit.recalibrated if fit.calibration else None, fit.final),
            "brier_after": metrics.brier(label, fit.recalibrated, weight) if fit.calibration else None,
        }

    def _calibrated(self, suffix: str, probability: Floats | None, intervals: bool) -> dict[str, float | None]:
        """Return the columns with calibration slope and intercept, and with their intervals if wanted. If everybody has the same
        probability, there is no slope."""
        label, weight = self.label, self.weight
        columns: dict[str, float | None] = {
            f"{name}{suffix}{end}": None for name in ("slope", "intercept") for end in ("", "_low", "_high")
        }
        if probability is None:
            return columns
        fitted = metrics.recalibration(label, probability, weight) if np.ptp(probability) > 0 else None
        shift = metrics.calibration_intercept(label, probability, weight)
        columns |= {f"slope{suffix}": fitted.slope if fitted else None, f"intercept{suffix}": shift}
        draws = {"intercept": self.bootstrap.intercepts(label, probability, shift)} if intervals else {}
        if fitted and intervals:
            draws["slope"] = self.bootstrap.slopes(label, probability, fitted)
        for name, values in draws.items():
            columns[f"{name}{suffix}_low"], columns[f"{name}{suffix}_high"] = metrics.interval(values)
        return columns


def scorable(rows: Rows) -> bool:
    """Return whether there are enough cases and non-cases to fit on and to evaluate on."""
    counted = [np.bincount(rows.label[rows.on(side)], minlength=2).min() for side in (FIT, JUDGE)]
    return bool(counted[0] >= FEWEST_FITTED and counted[1] >= FEWEST_CASES)


def best(fitted_models: Sequence[Fit], kind: str, cases: int, usual: Sequence[str]) -> Fit | None:
    """Return the model of a kind that is best on the validation set. If that set has too few `cases` to choose by, it is the
    first model of `usual` that is available."""
    final = {fit.model.name: fit for fit in fitted_models if fit.final and fit.model.kind == kind}
    known = [fit for fit in final.values() if np.isfinite(fit.tuned)]
    if cases >= FEWEST_TO_CHOOSE and known:
        return max(known, key=lambda fit: fit.tuned)
    return next((final[name] for name in (*usual, *final) if name in final), None)
