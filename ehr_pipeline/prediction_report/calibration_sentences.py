"""The sentences of the section on calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from ehr_pipeline.reports.statements.statement import Rate, Statement, counted, listed, markup, percent, say

MISTAKES = (
    ("slope", 1.0, "too extreme", "too cautious"),
    ("intercept", 0.0, "too high on average", "too low on average"),
)
"""A figure, its value if predictions are right, and how predictions are wrong if the whole 95 % interval is below or above this
value."""


def lead(raw: Sequence[str]) -> Statement:
    """Say how to read the picture. `raw`: tasks with too few cases in the validation set to recalibrate."""
    return say(
        "The share with the outcome at each predicted risk, after recalibration on the validation set (Platt 1999; with a prior"
        " around no change, so that few cases change little).{raw} On the diagonal, predictions are right. A slope below 1 means"
        " that predictions are too extreme; an intercept below 0, that they are too high. Neighbouring tenths of index dates are"
        " joined where too few have the outcome, or too few do not.",
        raw=markup(" Not recalibrated, because there are too few cases: {tasks}.", tasks=listed(raw)) if raw else "",
    )


def at_chance(tasks: Sequence[str]) -> Statement | None:
    """Say which tasks are left out, because the best model is at chance; None if there are none."""
    if not tasks:
        return None
    return say(
        "Left out, because the best model is not shown to predict better than chance: {tasks}. If nothing can be predicted, no"
        " slope is right, and only the same risk for every patient is.",
        Rate.PREDICTIONS,
        tasks=listed(tasks),
    )


def miscalibrated(judged: Sequence[tuple[str, Mapping[str, Any]]]) -> Statement | None:
    """Say where predictions are shown to be wrong after recalibration, and whether they were before; None if nothing was
    recalibrated. `judged`: names of tasks with the results of the best model."""
    even_after: dict[str, list[Markup]] = {}
    only_after: dict[str, list[Markup]] = {}
    for figure, right, below, above in MISTAKES:
        for name, row in judged:
            value, low, high = (row[f"{figure}_after{end}"] for end in ("", "_low", "_high"))
            if low is not None and high is not None and not low <= right <= high:
                figures = f"({figure} {value:z.2f}, {low:z.2f} to {high:z.2f})"
                cell = markup("{name} {figures}", name=name, figures=figures)
                raw_low, raw_high = row[f"{figure}_low"], row[f"{figure}_high"]
                known = raw_low is not None and raw_high is not None
                # Within the interval from before, the error may have been there already, and was not shown.
                caused = known and raw_low <= right <= raw_high and not raw_low <= value <= raw_high
                found = only_after if caused else even_after
                found.setdefault(below if high < right else above, []).append(cell)
    if not judged:
        return None
    if not even_after and not only_after:
        return say(
            "After recalibration, no error is shown in {tasks}: the 95 % intervals include 1 for each slope and 0 for each"
            " intercept. A wide interval can hide an error.",
            Rate.PREDICTIONS,
            tasks=f"any of {counted(len(judged), 'task')}" if len(judged) > 1 else "the only task that was examined",
        )
    even = markup("Even after recalibration, predictions of the best model are {wrong}. ", wrong=_wrong(even_after))
    only = markup(
        "After recalibration, but not before, predictions of the best model are {wrong}: probably the validation set has too few"
        " cases to recalibrate by. ",
        wrong=_wrong(only_after),
    )
    return say(
        "{even}{only}The brackets give 95 % intervals over patients, not adjusted for the number of tasks. No other error is"
        " shown; a wide interval can hide one.",
        Rate.PREDICTIONS,
        even=even if even_after else "",
        only=only if only_after else "",
    )


def _wrong(found: Mapping[str, Sequence[Markup]]) -> Markup:
    """Return the ways in which predictions are wrong, each with its tasks."""
    return listed(markup("{word} for {names}", word=word, names=listed(names)) for word, names in found.items())


def alt(panels: Sequence[tuple[str, Sequence[tuple[float, float]]]]) -> str:
    """Describe the picture: for each task, the highest predicted risk and what was observed there."""
    shares = "; ".join(
        f"{name}: {percent(points[-1][1])} where {percent(points[-1][0])} was predicted" for name, points in panels
    )
    return f"Share with the outcome by predicted risk, one panel per task. At the highest risk, {shares}."
