"""The figures of the page as cells of its tables: text or HTML."""

import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from ehr_pipeline.prediction_report.curves import Point
from ehr_pipeline.reports.statements.statement import markup

NONE = "–"
"""Shown where there is no figure."""


def auroc(value: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return a figure with three decimals, and its interval if it has one."""
    if value is None or math.isnan(value):
        return NONE
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} ({low:.3f}–{high:.3f})"


def difference(row: Mapping[str, Any] | None) -> str:
    """Return a difference of AUROCs with its interval."""
    return NONE if row is None else f"{row['difference']:+.3f} ({row['low']:+.3f} to {row['high']:+.3f})"


def point(found: Point | None) -> str:
    """Return a point of a learning curve as a cell."""
    return NONE if found is None else auroc(found.value, *found.interval)


def model(name: str, row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row of the table of all models of a task."""
    names = ("slope", "intercept", "slope_after", "intercept_after")
    return {
        "name": name,
        "auroc": auroc(row["auroc"], row["auroc_low"], row["auroc_high"]),
        "precision": auroc(row["average_precision"]),
        "brier_skill": signed(row["brier_skill"]),
        **{each: bounded(row, each) for each in names},
    }


def signed(value: float | None, digits: int = 2) -> str:
    """Return a figure that may be negative, and is never shown as minus zero."""
    return NONE if value is None else f"{value:z.{digits}f}"


def bounded(row: Mapping[str, Any], name: str) -> Markup | str:
    """Return a figure of a row of results, with its 95 % interval below it."""
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None or low is None or high is None:
        return signed(value)
    interval = f"{signed(low)} to {signed(high)}"
    return markup('{value}<br><span class="soft small">{interval}</span>', value=signed(value), interval=interval)


def benefit(threshold: float, own: Mapping[str, Any], baseline: Mapping[str, Any]) -> dict[str, str]:
    """Return a row of the table of net benefit."""
    return {
        "threshold": f"{100 * threshold:.1f} %",
        "model": signed(own["net_benefit"], 4),
        "baseline": signed(baseline["net_benefit"], 4),
        "all": signed(own["treat_all"], 4),
    }


def passed(state: bool | None) -> Markup:
    """Return the state of a guard as a cell."""
    kind, words = {True: ("yes", "passed"), False: ("no", "found something"), None: ("soft", "cannot be checked")}[
        state
    ]
    return markup('<span class="{kind}">{words}</span>', kind=kind, words=words)
