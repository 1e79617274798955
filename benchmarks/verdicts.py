"""How often the page of predictions says what is false: verdicts, and its first sentences, on studies of known truth.

A study has one task, or a few. The true risk of each patient is known: its log-odds are drawn from a normal distribution. The
score of a model is these log-odds with noise. The variance of the noise decides the AUROC, and shrinks with the number of labels;
some noise is common to all models, some to one side. A sample of labels is a lucky or an unlucky one. Only the fits are simulated
in this way. All else is the code that makes the page: recalibration and choice on the validation set, bootstrap, verdicts,
curves, sentences.

Usage: python benchmarks/verdicts.py --work FOLDER [--kinds tasks-null …] [--studies 200] [--patients 600] [--write]
"""

import argparse
import json
import math
import os
import time
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import error_rates
import numpy as np
import pyarrow as pa
import rates
import results
from numpy.typing import NDArray
from scipy import sparse
from scipy.special import expit, ndtri

from ehr_pipeline.patients.histories import ALWAYS
from ehr_pipeline.prediction_report import curves, statements
from ehr_pipeline.prediction_report.curves import Curves, Point
from ehr_pipeline.predictions import compare, deviations, metrics, result_tables
from ehr_pipeline.predictions.compare import Case, Fit
from ehr_pipeline.predictions.features import RecordedConcepts
from ehr_pipeline.predictions.metrics import Calibration
from ehr_pipeline.predictions.models import BY_NAME, RULES_OF_THUMB
from ehr_pipeline.predictions.rows import FIT, JUDGE, TUNE, People, Rows
from ehr_pipeline.predictions.settings import PredictionsSettings, replicates
from ehr_pipeline.predictions.table import TaskResults, joined
from ehr_pipeline.tasks.table import Definition

Floats = NDArray[np.float64]
MEAN, SPREAD = -2.2, 1.2
"""Of the log-odds of the true risk; about one patient in seven is a case."""
LABELS = (20, 100, 500)
SIZES = {FIT: 2_000, TUNE: 400, JUDGE: 600}
SETTINGS = PredictionsSettings(labels=LABELS, bootstrap=300)
OF_LABELS, LUCK = 60.0, 0.3
"""Variance of the noise with one label, which falls in proportion to labels; and spread of its logarithm over samples."""
COMMON, OF_SIDE = 0.4, 0.3
"""Shares of the noise with all labels that all models have in common, and all of one side."""
WEAK, USUAL = 6.0, 1.0
"""Variance of the noise, with all labels, of the rules of thumb, and of the best baselines."""
BEST = ("counts", "counts_boosting", "recency", "recency_boosting")
ENCODER = ("vectors", "vectors_masked", "masked_recency")
POPULATION, DRAWS_OF_LUCK = 60_000, 9
MORE_THAN_ALL = "better than counting with all labels"


@dataclass(frozen=True)
class Kind:
    """A kind of study."""

    name: str
    tasks: int = 1
    predictable: bool = True
    models: float = USUAL
    """Variance of the noise of the encoder's models, with all labels."""
    better: int = 0
    """In so many of the tasks, the encoder's models have half the noise."""
    masked: float | None = None
    """Variance of the noise of the model without labels; None: as much as the encoder's models with 100 labels."""
    related: float = 0.0
    """Share of the variance of risks and of noise that all tasks of a study have in common: their AUROCs then move together."""
    rule: float | None = None
    """Share of the models' gain over chance that a rule of thumb has; None: both are as weak as usual."""
    rules: int = 1
    """How many of the two rules of thumb have it."""

    def noise(self, task: int) -> dict[str, float]:
        """The variance of each model's noise with all labels (without any, for models that need none)."""
        of_models = self.models / 2 if task < self.better else self.models
        found = {"rule_of_thumb": WEAK} | dict.fromkeys(BEST, USUAL) | dict.fromkeys(ENCODER, of_models)
        found["masked"] = of_models + OF_LABELS / 100 if self.masked is None else self.masked
        found["age_sex"] = WEAK
        if self.rule is not None:
            wanted = 0.5 + self.rule * (true_auroc(of_models, None) - 0.5)
            grid = np.geomspace(60, 0.1, 30)
            aurocs = [true_auroc(each, None) for each in grid.tolist()]
            found |= dict.fromkeys(RULES_OF_THUMB[-self.rules :], float(np.interp(wanted, aurocs, grid)))
        return found


KINDS = {
    kind.name: kind
    for kind in (
        Kind("task-null", predictable=False),
        Kind("tasks-null", 3, predictable=False),
        Kind("task-equal"),
        Kind("tasks-equal", 3),
        Kind("tasks-mixed", 4, better=2),
        Kind("task-better", better=1),
        Kind("task-worse", models=2 * USUAL),
        Kind("task-no-labels", masked=USUAL),
        Kind("task-rule-80", rule=0.8, rules=2),
        Kind("task-rule-90", rule=0.9),
        Kind("task-rule-100", rule=1.0),
        Kind("tasks-better", 4, better=4),
        Kind("tasks-null-related", 4, predictable=False, related=0.8),
        Kind("tasks-equal-related", 4, related=0.8),
        Kind("tasks-better-related", 4, better=4, related=0.8),
    )
}


@cache
def _population() -> tuple[NDArray[np.bool_], Floats, Floats]:
    rng = np.random.default_rng(0)
    risk = rng.normal(MEAN, SPREAD, POPULATION)
    return rng.random(POPULATION) < expit(risk), risk, rng.normal(size=POPULATION)


@cache
def true_auroc(noise: float, labels: int | None) -> float:
    """The AUROC of a model with so much noise with all labels, fitted with a number of labels, mean over samples."""
    label, risk, extra = _population()
    middles = (np.arange(DRAWS_OF_LUCK) + 0.5) / DRAWS_OF_LUCK
    luck = LUCK * ndtri(middles) if labels else np.zeros(1)
    variances = noise + (OF_LABELS / labels * np.exp(luck) if labels else np.zeros(1))
    ones = np.ones(POPULATION)
    return float(np.mean([metrics.auroc(label, risk + math.sqrt(v) * extra, ones) for v in variances]))


def rows_of(label: NDArray[np.bool_]) -> Rows:
    """The rows of a task: one for each patient."""
    count, nothing = len(label), np.zeros(len(label), np.int64)
    return Rows(
        shard=nothing.astype(np.int32),
        row=np.arange(count),
        side=np.repeat(np.array(list(SIZES), np.int8), list(SIZES.values())),
        patient=np.arange(count).astype(np.uint64),
        index=nothing,
        first=np.full(count, ALWAYS),
        last=nothing - 1,
        known=nothing - 1,
        opens=nothing + 1,
        query_day=nothing + 180,
        label=label,
        weight=np.ones(count),
        prevalence=float(label[: SIZES[FIT]].mean()),
    )


class Draws:
    """Normal numbers for each patient (n,), of which those of one name are alike in all tasks of a study."""

    def __init__(self, rng: np.random.Generator, related: float) -> None:
        """`related` is the share of the variance that the tasks have in common."""
        self._rng, self._related, self._common = rng, related, dict[str, Floats]()

    def __call__(self, name: str) -> Floats:
        """Numbers of variance 1."""
        count = sum(SIZES.values())
        own = self._rng.normal(size=count)
        if not self._related:
            return own
        common = self._common.setdefault(name, self._rng.normal(size=count))
        return math.sqrt(self._related) * common + math.sqrt(1 - self._related) * own


def case_of(
    draws: Draws, rng: np.random.Generator, kind: Kind, task: int
) -> tuple[Case, list[Fit], list[dict[str, Any]], pa.Table]:
    """A task, its models as if they had been fitted with all labels, rows of results with fewer labels, and their deviations."""
    count = sum(SIZES.values())
    risk = MEAN + SPREAD * draws("risk")
    label = rng.random(count) < expit(risk if kind.predictable else rng.permutation(risk))
    nothing = sparse.csr_array((count, 1))
    told = RecordedConcepts(
        nothing, nothing, nothing, np.zeros((count, 7)), rng.uniform(20, 90, count), np.zeros(count, np.int64)
    )
    case = Case(rows_of(label), told, People(np.zeros(count), {}), np.zeros(1, np.int64), {}, SETTINGS, task)
    common, sides = draws("common"), {side: draws(side) for side in ("baseline", "model")}
    luck = {(number, replicate): rng.normal(0, LUCK) for number in LABELS for replicate in range(replicates(number))}
    judged = case.rows.on(JUDGE)
    ones, found, fewer = np.ones(len(judged)), [], []
    influences: dict[deviations.Fitted, Floats] = {}
    for name, noise in kind.noise(task).items():
        model, own = BY_NAME[name], draws(name)
        parts = (COMMON, common), (OF_SIDE, sides[model.kind]), (1 - COMMON - OF_SIDE, own)
        score = risk + sum(math.sqrt(share * noise) * part for share, part in parts)
        needs = model.learner != "none"
        found.append(compare._fit(case, model, None if needs else 0, 0, (score, None)))
        for (labels, replicate), lucky in luck.items() if needs else ():
            with_fewer = score[judged] + math.sqrt(OF_LABELS / labels * math.exp(lucky)) * rng.normal(size=len(judged))
            auroc = metrics.auroc(label[judged], with_fewer, ones)
            fewer.append({"model": name, "labels": labels, "replicate": replicate, "auroc": auroc})
            influences[name, labels, replicate] = metrics.influence(label[judged], with_fewer, ones)
    return case, found, fewer, deviations.table(f"t{task}", case.rows.patient[judged], influences)


def recalibration(label: NDArray[np.bool_], probability: Floats, weight: Floats) -> Calibration | None:
    """As `metrics.recalibration`, by Newton's method: a tenth of the time."""
    if min(label.sum(), (~label).sum()) < metrics.BINS:
        return None
    x = metrics.log_odds(probability)
    centre, spread = float(x.mean()), max(float(x.std()), 1e-9)
    columns, found = np.stack([np.ones(len(x)), (x - centre) / spread]), np.zeros(2)
    penalty = np.diag([1e-9, 1e-6])
    for _ in range(50):
        chance = expit(found @ columns)
        curvature = (columns * (weight * chance * (1 - chance))) @ columns.T + penalty
        step = np.linalg.solve(curvature, columns @ (weight * (label - chance)) - penalty @ found)
        found = found + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    slope = float(found[1]) / spread
    return Calibration(slope, float(found[0]) - slope * centre)


def study(kind: Kind, number: int) -> TaskResults:
    """The results of a study."""
    rng, parts = np.random.default_rng([list(KINDS).index(kind.name), number]), []
    draws = Draws(rng, kind.related)
    for task in range(kind.tasks):
        rule = {"kind": "recorded", "last": -1, "opens": 1, "closes": 365, "lookback": 0, "visit_window": 0}
        definition = Definition(task, f"Task {task}", f"t{task}", ("C1",), (), "calendar", False, False, rule)
        case, found, fewer, moved = case_of(draws, rng, kind, task)
        made = result_tables.tables(definition, case, found)
        rows = (*made.results, *({**made.results[0], **row} for row in fewer))
        parts.append(replace(made, results=rows, deviations=pa.concat_tables([made.deviations, moved])))
    return result_tables.with_verdicts(joined(parts))


def said(kind: Kind, results: TaskResults) -> dict[str, Any]:
    """What the page says of the results of a study, and whether its intervals hold what is true."""
    found = curves.curves(results)
    assert found is not None
    own = [row["verdict"] for row in results.verdicts]
    compared = [results.compared(row["task"]) for row in results.verdicts]
    equal = compared[kind.better :] if kind.better < kind.tasks else compared
    return {
        "tasks": kind.tasks,
        "tasks compared": len(equal),
        "better": equal.count("better"),
        "worse": equal.count("worse"),
        "not needed": own.count("not needed"),
        "above chance": sum(not results.at_chance(row, "model") for row in results.verdicts),
        **_of_slopes(kind, results),
        **_of_head(kind, found),
        **_without_labels(kind, found),
    }


@cache
def true_slope(noise: float) -> float:
    """The calibration slope of a score with so much noise, as it is."""
    label, risk, extra = _population()
    found = recalibration(label, metrics.probabilities(risk + math.sqrt(noise) * extra), np.ones(POPULATION))
    assert found is not None
    return found.slope


def _of_slopes(kind: Kind, results: TaskResults) -> dict[str, int]:
    """Of the chosen models that need labels: how many slopes after recalibration are said to be wrong, and how many intervals
    miss."""
    counts = dict.fromkeys(("slopes", "slopes said to be wrong", "slopes wrongly said", "slope misses"), 0)
    for number, verdict in enumerate(results.verdicts):
        row = results.final(verdict["task"], verdict["model"])
        if row is None or None in (row["slope"], row["slope_after_low"]) or not kind.predictable:
            continue
        low, high = row["slope_after_low"], row["slope_after_high"]
        true = true_slope(round(kind.noise(number)[row["model"]], 6)) * row["slope_after"] / row["slope"]
        counts["slopes"] += 1
        counts["slope misses"] += not low <= true <= high
        counts["slopes said to be wrong"] += not low <= 1 <= high
        counts["slopes wrongly said"] += (low > 1 >= true) or (high < 1 <= true)
    return counts


def _true(kind: Kind, side: str, labels: int | None) -> float:
    """The best mean AUROC over tasks of a side's models."""
    names = [name for name in kind.noise(0) if BY_NAME[name].kind == side]
    return max(float(np.mean([_of_model(kind, name, task, labels) for task in range(kind.tasks)])) for name in names)


def _of_model(kind: Kind, name: str, task: int, labels: int | None) -> float:
    noise = round(kind.noise(task)[name], 6)
    return true_auroc(noise, None if BY_NAME[name].learner == "none" else labels) if kind.predictable else 0.5


def _true_equals(kind: Kind, found: Curves, auroc: float) -> float:
    """The number of labels with which the best baseline truly has an AUROC."""
    values = [_true(kind, "baseline", number) for number in (*found.labels, None)]
    points = {
        number: Point(np.array([value]), np.zeros(1))
        for number, value in zip((*found.labels, None), values, strict=True)
    }
    return replace(found, points={"counts": points}).labels_for(auroc - 1e-9)


def _of_head(kind: Kind, found: Curves) -> dict[str, Any]:
    worth = curves.labels_saved(found, curves.usual(found))
    assert worth is not None
    told: dict[str, Any] = {
        "head better": int(worth.verdict == "better"),
        "head worse": int(worth.verdict == "worse"),
        "head more than all": int(MORE_THAN_ALL in str(statements.head(worth, found))),
    }
    if kind.predictable:
        truth = _true_equals(kind, found, _true(kind, "model", worth.labels))
        told["any interval misses"] = int(not worth.low <= truth <= worth.high)
        if worth.verdict == "better":
            told["head interval misses"] = told["any interval misses"]
    return told


def _without_labels(kind: Kind, found: Curves) -> dict[str, Any]:
    text = str(statements.without_labels(found))
    return {
        "without labels beyond chance": int("not shown to be better than chance" not in text),
        "without labels better than all": int(MORE_THAN_ALL in text),
        **_interval_without_labels(kind, found),
    }


def _interval_without_labels(kind: Kind, found: Curves) -> dict[str, int]:
    """Whether the interval of the number of labels that the model is worth without any misses the true number."""
    if not kind.predictable:
        return {}
    point = found.points["masked"][0]
    error, value = curves.Z * point.minus(found.nearest_baseline(point.value)).error, point.value
    truth = _true_equals(kind, found, float(np.mean([_of_model(kind, "masked", n, None) for n in range(kind.tasks)])))
    return {
        "without labels misses": int(not found.labels_for(value - error) <= truth <= found.labels_for(value + error))
    }


def measure(kind: Kind, number: int, folder: Path) -> dict[str, Any]:
    """What is said of a study. Its results are kept in the folder: statements can be measured again without simulating them."""
    if not (folder / "results").is_dir():
        (folder / "making").mkdir(parents=True, exist_ok=True)
        study(kind, number).write(folder / "making")
        (folder / "making").rename(folder / "results")
    return said(kind, TaskResults.read(folder / "results"))


def main() -> None:
    """Measure the kinds asked for, or write the tables from what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for what was measured")
    parser.add_argument("--name", default=rates.NOW, help="name of this state of the methods")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--studies", type=int, default=200, help="studies of each kind")
    parser.add_argument("--patients", type=int, default=SIZES[JUDGE], help="patients in the test set")
    parser.add_argument("--write", action="store_true", help="only write the tables from what was measured")
    asked = parser.parse_args()
    if asked.write:
        known = json.loads(rates.COUNTS.read_text(encoding="utf-8"))[asked.name]
        found = rates.counted(asked.work, asked.name) | {"note": known.get("note", "")}
        ours = [each.name for each in rates.STATEMENTS if rates.script(each) == "verdicts.py"]
        told = rates.keep(asked.name, found, [name for name in ours if name in found["counts"]])
        rates.PAGE.write_text(rates.page(told, error_rates.FACTS), encoding="utf-8")
        results.write("verdicts.py", "Error rates of the prediction report", rates.section(told, "verdicts.py"))
        return
    now, SIZES[JUDGE] = error_rates.commit(), asked.patients
    with mock.patch.object(metrics, "recalibration", recalibration):
        for name in asked.kinds:
            begun = time.process_time()
            for number in range(asked.studies):
                folder = asked.work / name / str(SIZES[JUDGE]) / str(number)
                path = folder / f"{asked.name}.json"
                if not path.is_file():
                    found = measure(KINDS[name], number, folder)
                    path.write_text(json.dumps(found | {"commit": now}) + "\n", encoding="utf-8")
            print(f"{name}: {time.process_time() - begun:.0f} s of processor time", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
