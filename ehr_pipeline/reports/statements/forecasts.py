"""Sentences about forecasts of the next concepts: whether they are better than counting, with the figures."""

from collections.abc import Mapping
from typing import Any

from ehr_pipeline.reports.statements.statement import Rate, Statement, counted, listed, percent, say

WITHIN = {"next_visit": "at the next visit", "30_days": "within 30 days", "365_days": "within a year"}
KIND = {"recurring": "concepts that a patient had before", "new": "concepts that a patient never had"}
BASELINE = {
    "popularity": "popularity by age and sex",
    "history": "the patient's own history",
    "counting": "the patient's own history and popularity",
}
NEARLY_ALL = 0.95
"""Recall of counting from which on ten named concepts can hardly miss one."""
_VERDICT = {
    "better": "better than counting",
    "no better": "no better than counting, as far as can be shown",
    "worse": "worse than counting",
}
HARDLY = "hardly better than counting"
"""Used instead of "no better" if the interval of the difference lies above zero, but the gain is too small to matter."""


def verdict(row: Mapping[str, Any], patients: str) -> Statement:
    """Say whether the forecast of a list is better than counting (a row of `verdicts.csv`), for so many `patients`."""
    where = {"kind": KIND[row["list"]], "within": WITHIN[row["horizon"]]}
    if row["verdict"] == "too few":
        return say("Of {kind}, {within}: too few patients of the test side had one to judge the forecast by.", **where)
    return say(
        "Of {kind}, {within}: the forecast is <b>{verdict}</b>. Of those that were recorded, {recall} are among the ten that it"
        " names, and {other} among the ten of {baseline} alone (difference {low} to {high} points, 95 % interval over {patients}"
        " patients).{easy}",
        Rate.PREDICTIONS,
        patients=patients,
        verdict=HARDLY if row["verdict"] == "no better" and row["low"] > 0 else _VERDICT[row["verdict"]],
        recall=percent(row["recall"], 1),
        other=percent(row["baseline_recall"], 1),
        baseline=BASELINE[row["baseline"]],
        easy=" Ten concepts are nearly all that there are to choose from, so this says little."
        if row["baseline_recall"] >= NEARLY_ALL
        else "",
        low=f"{100 * row['low']:+.1f}",
        high=f"{100 * row['high']:+.1f}",
        **where,
    )


def foresight(shares: Mapping[str, tuple[float, float]]) -> Statement:
    """State the value of Foresight's own metric, and the value that popularity alone reaches, for each list."""
    found = listed(
        f"{percent(share, 1)} of {KIND[name]} ({percent(popularity, 1)} by popularity alone)"
        for name, (share, popularity) in shares.items()
    )
    return say(
        "By Foresight’s own metric, which gives away the semantic type of the answer and whether the patient had it, the forecast"
        " finds {found}.",
        found=found,
    )


def no_verdict() -> Statement:
    """Say why there is no verdict on forecasts."""
    return say(
        "The forecasts were not judged: nobody is on the test side (<code>patients.split.test_share</code>) with a history that is"
        " long enough."
    )


def lead(verdicts: int, recurring: float, new: float) -> Statement:
    """Say what was forecast, for which patients, and by which rule each of the `verdicts` was made.

    “Better” needs a gain in recall: a difference of at least `recurring` for recurring concepts, and a factor of at least `new` for
    new ones.
    """
    return say(
        "On patients of the test side, from whom nothing was learned, a visit was drawn, and ten concepts were named that may"
        " follow: of those that the patient never had (new), and of those that the patient had (recurring). Recall at ten: of what"
        " was recorded, the share among the ten. The baselines are counted on the training side; no side knows the day of the next"
        " visit. “Better” needs an interval above zero and a gain that a reader would notice: {recurring:.0f} points of recurring"
        " concepts, {new:g} times as many new ones. “Hardly better”: the interval lies above zero, but the gain is smaller. The"
        " {verdicts} are not adjusted for their number.",
        recurring=100 * recurring,
        new=new,
        verdicts=counted(verdicts, "verdict"),
    )
