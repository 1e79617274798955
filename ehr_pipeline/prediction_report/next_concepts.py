"""The section on forecasts of the next concepts: values for its template."""

from collections.abc import Iterator, Sequence
from typing import Any

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.forecasts.cases import HORIZONS, YEAR
from ehr_pipeline.forecasts.metrics import NEW, NEW_TIMES, RECURRING, RECURRING_BY
from ehr_pipeline.forecasts.pictures import NAMES, WORDS
from ehr_pipeline.forecasts.scores import COUNTING, HISTORY
from ehr_pipeline.forecasts.table import Forecasts, Row
from ehr_pipeline.prediction_report.cells import NONE
from ehr_pipeline.prediction_report.findings import Findings
from ehr_pipeline.reports.statements import forecasts as say
from ehr_pipeline.reports.statements.statement import Statement, percent


def head(found: Forecasts, shown: Disclosure) -> list[Statement]:
    """Return the first sentences: whether the forecasts of the next year are better than counting."""
    rows = (found.verdict(YEAR, name) for name in (RECURRING, NEW))
    return [say.verdict(row, shown.about(row["patients"])) for row in rows if row]


def forecasts(findings: Findings) -> dict[str, Any] | None:
    """Return the recall at ten of all models, with verdicts; None if no forecasts were evaluated."""
    found = findings.forecasts
    if not found.verdicts:
        return None
    shown = findings.disclosure
    return {
        "lead": say.lead(len(found.verdicts), RECURRING_BY, NEW_TIMES),
        "verdicts": [say.verdict(row, shown.about(row["patients"])) for row in found.verdicts],
        "heads": list(NAMES.values()),
        "rows": [
            {
                "within": WORDS[horizon],
                "kind": name,
                "patients": shown.about(verdict["patients"]),
                "cells": [
                    _recall(found, horizon, name, model) if shown.named(verdict["patients"]) else NONE
                    for model in NAMES
                ],
            }
            for horizon in HORIZONS
            for name in (RECURRING, NEW)
            if (verdict := found.verdict(horizon, name))
        ],
        "groups": [
            _group(row, shown.about(row["patients"]))
            for row in found.concept_groups
            if row["horizon"] == YEAR and shown.named(row["patients"])
        ],
        "foresight": list(_foresight([row for row in found.foresight if shown.named(row["patients"])])),
    }


def _recall(found: Forecasts, horizon: str, name: str, model: str) -> str:
    if name == NEW and model in (HISTORY, COUNTING):
        return NONE  # a history says nothing of new concepts: both would again be popularity
    wanted = (horizon, name, model, "recall")
    for row in found.forecasts:
        if (row["horizon"], row["list"], row["model"], row["measure"]) == wanted:
            return f"{percent(row['value'], 1)} ({100 * row['low']:.1f}–{100 * row['high']:.1f})"
    return NONE


def _group(row: Row, patients: str) -> dict[str, str]:
    return {
        "kind": row["list"],
        "group": row["group"],
        "patients": patients,
        "recall": percent(row["recall"]),
        "popularity": percent(row["popularity_recall"]),
        "baseline": percent(row["baseline_recall"]),
        "difference": f"{100 * row['low']:+.1f} to {100 * row['high']:+.1f} points",
    }


def _foresight(rows: Sequence[Row]) -> Iterator[Statement]:
    shares = {(row["list"], row["model"]): row["share"] for row in rows}
    found = {
        name: (shares[name, model], shares[name, "popularity"])
        for name in (RECURRING, NEW)
        if (model := next((each for each in ("forecast", "encoder") if (name, each) in shares), None))
    }
    if found:
        yield say.foresight(found)
