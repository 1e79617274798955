"""Make the tables of a task from its fitted models: results with intervals, differences, calibration, subgroups, verdict."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.clusters.many_tests import benjamini_hochberg
from ehr_pipeline.predictions import deviations, guards, metrics, result_schemas
from ehr_pipeline.predictions.compare import FEWEST_CASES, Case, Fit, TestSet, best
from ehr_pipeline.predictions.models import BY_NAME, RULES_OF_THUMB
from ehr_pipeline.predictions.rows import FIT, JUDGE, TUNE
from ehr_pipeline.predictions.table import DRAWS_OF_SUBGROUPS, TaskResults
from ehr_pipeline.tasks.table import Definition

Floats = NDArray[np.float64]
USUAL_BASELINES, USUAL_MODELS = ("recency", "counts"), ("masked_recency", "vectors_masked", "masked")
"""The models to compare if the validation set is too small to choose the best ones: the first one available."""
TIMES_PREVALENCE = (0.5, 1.0, 2.0, 4.0)
"""Thresholds of net benefit, as multiples of the prevalence."""
FEWEST_FOR_SUBGROUPS = 200
FEWEST_IN_SUBGROUP = 10
SIGNIFICANT = 0.05
AGES = ((0, 18, "0 to 17"), (18, 40, "18 to 39"), (40, 60, "40 to 59"), (60, 75, "60 to 74"), (75, 200, "75 and over"))
QUINTILES = 5


def too_few(definition: Definition, case: Case) -> TaskResults:
    """Return the tables of a task with too few cases: counts, but no scores."""
    verdict = _verdict(definition, case) | {"verdict": "too few"}
    message = (
        f"fewer than {FEWEST_CASES} index dates with the outcome, or without it, in the test set, or too few to fit on"
    )
    guard = guards.row(result_schemas.CASES, definition.slug, False, message)
    return TaskResults((), (), (verdict,), (), (), (), (guard,), ())


def tables(definition: Definition, case: Case, fits: Sequence[Fit]) -> TaskResults:
    """Return the tables of a task with enough cases, without the deciding concepts and most guards, which are made elsewhere."""
    judged, slug = TestSet.of(case), definition.slug
    final = [fit for fit in fits if fit.final]
    draws = {id(fit): judged.bootstrap.aurocs(judged.label, fit.probability) for fit in final}
    results = tuple(judged.row(slug, fit, draws.get(id(fit))) for fit in fits)
    tuned = int(case.rows.label[case.rows.on(TUNE)].sum())
    baseline = best(fits, "baseline", tuned, USUAL_BASELINES)
    model = best(fits, "model", tuned, USUAL_MODELS)
    differences = tuple(
        _difference(slug, judged, fit, baseline, draws) for fit in final if baseline and fit.model.kind != "baseline"
    )
    verdict = _verdict(definition, case) | _compared(judged, final, (model, baseline), draws)
    shown = [fit for fit in (model, baseline) if fit]
    return TaskResults(
        results,
        differences,
        (verdict,),
        tuple(row for fit in final for row in _benefit(slug, judged, fit)),
        tuple(row for fit in shown for row in _subgroups(slug, case, judged, fit)),
        tuple(row for fit in final if fit.model.features for row in _bins(slug, judged, fit)),
        (guards.row(result_schemas.CASES, slug, True, "enough cases in the test set"),),
        (),
        deviations.table(slug, judged.patient, _influences(judged, fits)),
    )


def _influences(judged: TestSet, fits: Sequence[Fit]) -> dict[deviations.Fitted, Floats]:
    """Return the influence (J,) of each row on the AUROC of each fitted model."""
    return {
        (fit.model.name, fit.labels, fit.replicate): metrics.influence(judged.label, fit.probability, judged.weight)
        for fit in fits
    }


def _verdict(definition: Definition, case: Case) -> dict[str, Any]:
    rows, fit, test = case.rows, case.rows.on(FIT), case.rows.on(JUDGE)
    return {
        "task": definition.slug,
        "name": definition.name,
        "verdict": "",
        "model": "",
        "baseline": "",
        "patients": len(np.unique(rows.patient[test])),
        "rows": len(test),
        "cases": int(rows.label[test].sum()),
        "fitted_rows": len(fit),
        "fitted_cases": int(rows.label[fit].sum()),
        "rule_auroc": None,
        "baseline_auroc": None,
        "model_auroc": None,
        "index_may_know_outcome": definition.index_may_know_outcome,
    }


def _compared(
    judged: TestSet, final: Sequence[Fit], best_of: tuple[Fit | None, Fit | None], draws: Mapping[int, Floats]
) -> dict[str, Any]:
    """Return the models and AUROCs in the row of a verdict. `best_of`: the best model, and the best baseline, of the `final` fits.

    `with_verdicts` adds 'better' or 'worse' once all tasks are known."""
    (model, baseline), rules = best_of, [fit for fit in final if fit.model.name in RULES_OF_THUMB]
    aurocs = {
        id(fit): metrics.auroc(judged.label, fit.probability, judged.weight) for fit in (model, baseline, *rules) if fit
    }
    row: dict[str, Any] = {
        "model": model.model.name if model else "",
        "baseline": baseline.model.name if baseline else "",
        "rule_auroc": max((aurocs[id(fit)] for fit in rules), default=None),
        "baseline_auroc": aurocs.get(id(baseline)),
        "model_auroc": aurocs.get(id(model)),
    }
    of_rules = [(aurocs[id(fit)], draws[id(fit)]) for fit in rules]
    if model and guards.rule_is_enough(of_rules, (aurocs[id(model)], draws[id(model)])):
        row["verdict"] = "not needed"
    return row


def _difference(slug: str, judged: TestSet, fit: Fit, baseline: Fit, draws: Mapping[int, Floats]) -> dict[str, Any]:
    apart = draws[id(fit)] - draws[id(baseline)]
    low, high = metrics.interval(apart)
    one, other = (metrics.auroc(judged.label, each.probability, judged.weight) for each in (fit, baseline))
    return {
        "task": slug,
        "model": fit.model.name,
        "baseline": baseline.model.name,
        "labels": fit.labels,
        "difference": one - other,
        "low": low,
        "high": high,
        "p": metrics.two_sided(apart),
        "q": None,
        "verdict": "",
    }


def with_verdicts(results: TaskResults) -> TaskResults:
    """Add verdicts, and p values adjusted over the tasks for each model (Benjamini & Hochberg 1995), to the tables of all tasks.

    A model is 'better' only if its AUROC is also above that of every baseline: the best one was chosen on the validation set,
    where chance may have hidden a better one.
    """
    differences = [dict(row) for row in results.differences]
    highest = _highest_baselines(results)
    for name in {row["model"] for row in differences}:
        rows = [row for row in differences if row["model"] == name]
        adjusted = np.exp(benjamini_hochberg(np.log(np.array([row["p"] for row in rows]))))
        for row, q in zip(rows, adjusted.tolist(), strict=True):
            row["q"] = q
            certain = q < SIGNIFICANT and row["low"] * row["high"] > 0
            row["verdict"] = ("better" if row["difference"] > 0 else "worse") if certain else "level"
            final = results.final(row["task"], row["model"])
            if row["verdict"] == "better" and final and final["auroc"] <= highest[row["task"]]:
                row["verdict"] = "level"
    said = {(row["task"], row["model"]): row["verdict"] for row in differences}
    verdicts = [
        row if row["verdict"] else {**row, "verdict": said.get((row["task"], row["model"]), "level")}
        for row in results.verdicts
    ]
    verdicts = [
        {**row, "verdict": "level"} if row["verdict"] == "better" and results.at_chance(row, "model") else row
        for row in verdicts
    ]
    rules = [
        guards.rule_of_thumb(row["task"], row["verdict"] == "not needed")
        for row in verdicts
        if row["rule_auroc"] is not None and row["model_auroc"] is not None and not results.at_chance(row, "model")
    ]
    parts = vars(results) | {"differences": tuple(differences), "verdicts": tuple(verdicts)}
    return TaskResults(**parts | {"guards": (*results.guards, *rules)})


def _highest_baselines(results: TaskResults) -> dict[str, float]:
    """Return the highest AUROC of any baseline that was fitted with all labels, or needs none, by task."""
    highest: dict[str, float] = {}
    for row in results.results:
        if row["labels"] in (None, 0) and BY_NAME[row["model"]].kind == "baseline":
            highest[row["task"]] = max(row["auroc"], highest.get(row["task"], row["auroc"]))
    return highest


def _benefit(slug: str, judged: TestSet, fit: Fit) -> Iterator[dict[str, Any]]:
    share = float(np.average(judged.label, weights=judged.weight))
    for times in TIMES_PREVALENCE:
        if (threshold := times * share) < 1:
            yield {
                "task": slug,
                "model": fit.model.name,
                "threshold": threshold,
                "net_benefit": metrics.net_benefit(judged.label, fit.recalibrated, judged.weight, threshold),
                "treat_all": metrics.net_benefit(judged.label, np.ones(len(judged.label)), judged.weight, threshold),
            }


def _bins(slug: str, judged: TestSet, fit: Fit) -> Iterator[dict[str, Any]]:
    after = fit.recalibrated
    place = metrics.bins(fit.probability)
    for number in np.unique(place).tolist():
        in_bin = place == number
        weight = judged.weight[in_bin]
        yield {
            "task": slug,
            "model": fit.model.name,
            "bin": number,
            "rows": int(in_bin.sum()),
            "cases": int(judged.label[in_bin].sum()),
            "predicted": float(np.average(fit.probability[in_bin], weights=weight)),
            "observed": float(np.average(judged.label[in_bin], weights=weight)),
            "predicted_after": float(np.average(after[in_bin], weights=weight)),
        }


def groups_of(case: Case) -> Iterator[tuple[str, NDArray[np.str_]]]:
    """Yield each attribute, with its value in each row of the test set. Rows with an empty value are in no group."""
    test = case.rows.on(JUDGE)
    for name, values in case.people.attributes.items():
        yield name, np.array(values, np.str_)[test]
    age, amount = case.recorded.age[test], case.recorded.amounts[test, 1]
    bands = [next((label for low, high, label in AGES if low <= years < high), "") for years in age.tolist()]
    yield "age", np.array(bands, np.str_)
    edges = np.quantile(amount, np.arange(1, QUINTILES) / QUINTILES) if len(amount) else np.zeros(QUINTILES - 1)
    yield "amount of record, fifth", (np.searchsorted(edges, amount, side="right") + 1).astype(np.str_)


def _subgroups(slug: str, case: Case, judged: TestSet, fit: Fit) -> Iterator[dict[str, Any]]:
    if judged.label.sum() < FEWEST_FOR_SUBGROUPS:
        return
    patient = case.rows.patient[case.rows.on(JUDGE)]
    for attribute, values in groups_of(case):
        for value in np.unique(values).tolist():
            in_group = values == value
            label, weight, probability = judged.label[in_group], judged.weight[in_group], fit.recalibrated[in_group]
            enough = min(label.sum(), (~label).sum()) >= FEWEST_IN_SUBGROUP and bool(value)
            score = fit.probability[in_group]
            low, high = None, None
            if enough:
                draws = metrics.Bootstrap(
                    patient[in_group], weight, min(case.settings.bootstrap, DRAWS_OF_SUBGROUPS), case.seed
                )
                low, high = metrics.interval(draws.aurocs(label, score))
            if value:
                yield {
                    "task": slug,
                    "model": fit.model.name,
                    "attribute": attribute,
                    "value": value,
                    "patients": len(np.unique(patient[in_group])),
                    "rows": int(in_group.sum()),
                    "cases": int(label.sum()),
                    "auroc": metrics.auroc(label, score, weight) if enough else None,
                    "auroc_low": low,
                    "auroc_high": high,
                    "predicted": float(np.average(probability, weights=weight)),
                    "observed": float(np.average(label, weights=weight)),
                }
