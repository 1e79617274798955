"""Results of invented tasks, as `task_results` writes them: AUROCs that are a known function of the number of labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from ehr_pipeline.forecasts.table import Forecasts
from ehr_pipeline.forecasts.table import empty as no_forecasts
from ehr_pipeline.predictions.deviations import DRAWS, SCHEMA
from ehr_pipeline.predictions.models import BY_NAME
from ehr_pipeline.predictions.table import TABLES, TaskResults, empty
from ehr_pipeline.tasks.table import Definition

LABELS = (10, 100, 500)
ALL = 5_000
Curve = Callable[[float], float]


def rising(first: float, by_decade: float) -> Curve:
    """An AUROC that is `first` with ten labels, and grows by so much with ten times as many."""
    return lambda labels: first + by_decade * np.log10(labels / 10)


def results(tasks: Sequence[str], curves: dict[str, Curve | float], width: float = 0.02, **verdict: Any) -> TaskResults:
    """Tables of tasks whose models have these AUROCs (a number: without labels), with intervals of a `width`."""
    rows, differences = [], []
    aurocs = {name: of if isinstance(of, float) else of(ALL) for name, of in curves.items()}
    kinds = {kind: [name for name in curves if BY_NAME[name].kind == kind] for kind in ("model", "baseline")}
    model, baseline = (max(kinds[kind], key=lambda name: aurocs[name]) for kind in ("model", "baseline"))
    for task in tasks:
        for name, of in curves.items():
            numbers = [(0, 0)] if isinstance(of, float) else [*((n, r) for n in LABELS for r in range(3)), (None, 0)]
            for labels, replicate in numbers:
                value = of if isinstance(of, float) else of(ALL if labels is None else labels)
                rows.append(result(task, name, labels, replicate, value, width))
        difference = aurocs[model] - aurocs[baseline]
        low, high = difference - width / 2, difference + width / 2
        told = {"difference": difference, "low": low, "high": high, "p": 0.01, "q": 0.02, "verdict": "better"}
        differences.append({"task": task, "model": model, "baseline": baseline, "labels": None, **told})
    usual = {
        "verdict": "better",
        "model": model,
        "baseline": baseline,
        "patients": 1_234,
        "rows": 1_234,
        "cases": 123,
        "fitted_rows": ALL,
        "fitted_cases": 500,
        "rule_auroc": 0.61,
        "baseline_auroc": aurocs[baseline],
        "model_auroc": aurocs[model],
        "index_may_know_outcome": False,
    }
    verdicts = [usual | {"task": task, "name": f"Task {task} <"} | verdict for task in tasks]
    tables = {"results": (*rows,), "differences": (*differences,), "verdicts": (*verdicts,)}
    return TaskResults(**vars(empty()) | tables | {"deviations": moving(rows, width)})


def moving(rows: Sequence[Mapping[str, Any]], width: float) -> pa.Table:
    """Deviations of AUROCs that move together in all tasks, as do the AUROCs of models and of baselines: both sides, and their
    difference, have a 95 % interval of a `width`."""
    keys = [(row["task"], row["model"], row["labels"], row["replicate"]) for row in rows]
    steps = np.resize([1.0, -1.0], DRAWS), np.repeat([1.0, -1.0], DRAWS // 2)  # of mean square 1, and unrelated
    side = {"baseline": steps[0] / 2 + steps[1] * np.sqrt(0.75), "model": -steps[0] / 2 + steps[1] * np.sqrt(0.75)}
    found = [width / (2 * 1.959964) * side.get(BY_NAME[model].kind, steps[0]) for _, model, *_ in keys]
    columns = [[key[place] for key in keys] for place in range(4)]
    return pa.table([*columns, pa.array(np.array(found, np.float32).tolist(), SCHEMA.field(4).type)], schema=SCHEMA)


def result(task: str, model: str, labels: int | None, replicate: int, auroc: float, width: float) -> dict[str, Any]:
    final = labels is None or labels == 0
    told = {
        "task": task,
        "model": model,
        "labels": labels,
        "replicate": replicate,
        "patients": 1_234,
        "rows": 1_234,
        "cases": 123,
        "auroc": auroc,
        "auroc_low": auroc - width / 2 if final else None,
        "auroc_high": auroc + width / 2 if final else None,
        "average_precision": 0.2,
        "prevalence": 0.1,
        **{f"slope_after{end}": value for end, value in (("", 0.9), ("_low", 0.7), ("_high", 1.1))},
        **{f"intercept_after{end}": value for end, value in (("", -0.001), ("_low", -0.2), ("_high", 0.2))},
    }
    return {name: told.get(name) for name in TABLES["results"].names}


def definition(number: int, slug: str) -> Definition:
    return Definition(
        number, f"Task {slug} <", slug, ("C1", "C2"), (), "landmark", False, True, {"kind": "recorded", "closes": 365}
    )


def counts(dropped: dict[str, int]) -> dict[str, Any]:
    kept = 2_000 - sum(dropped.values())
    return {
        "rows_in": 2_000,
        "kept": kept,
        "dropped": dropped,
        "cases": 123,
        "concepts": 2,
        "by_side": {"validation": {"cases": 30}},
    }


WHICH = {"horizon": "365_days", "list": "recurring"}
RECALLS = {"popularity": 0.62, "history": 0.58, "counting": 0.72, "encoder": 0.69, "forecast": 0.725}


def foreseen(patients: int = 1_234) -> Forecasts:
    told = {"patients": patients, "recorded": 9_000}
    interval = {"difference": 0.005, "low": -0.004, "high": 0.014}
    rows = [
        {
            **WHICH,
            **told,
            "model": model,
            "measure": "recall",
            "value": value,
            "low": value - 0.01,
            "high": value + 0.01,
        }
        for model, value in RECALLS.items()
    ]
    best = {"model": "forecast", "baseline": "counting", "recall": 0.725, "baseline_recall": 0.72}
    group = {"kind": "semantic type", "group": "Finding <", "popularity_recall": 0.5}
    return replace(
        no_forecasts(),
        forecasts=tuple(rows),
        verdicts=({**WHICH, **told, **best, **interval, "verdict": "no better", "ratio": 1.007},),
        concept_groups=({**WHICH, **told, **best, **interval, **group},),
        foresight=tuple(
            {"list": "recurring", "model": model, "patients": patients, "labels": 1_500, "share": 0.98}
            for model in RECALLS
        ),
    )
