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
        return say("For {kind}, {within}: too few patients in the test set had one to judge the forecast.", **where)
    return say(
        "For {kind}, {within}, the forecast is <b>{verdict}</b>. Its ten concepts include {recall} of those that were recorded;"
        " the ten concepts of {baseline} alone include {other} (difference {low} to {high} points, 95 % interval over {patients}"
        " patients).{easy}",
        Rate.PREDICTIONS,
        patients=patients,
        verdict=HARDLY if row["verdict"] == "no better" and row["low"] > 0 else _VERDICT[row["verdict"]],
        recall=percent(row["recall"], 1),
        other=percent(row["baseline_recall"], 1),
        baseline=BASELINE[row["baseline"]],
        easy=" There are hardly more than ten concepts to choose from, so this says little."
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
        "By the metric of the Foresight study, which reveals the semantic type of the answer and whether the patient had it"
        " before, the forecast finds {found}.",
        found=found,
    )


def no_verdict() -> Statement:
    """Say why there is no verdict on forecasts."""
    return say(
        "The forecasts were not evaluated: no patient in the test set (<code>patients.split.test_share</code>) has a history that"
        " is long enough."
    )


def lead(verdicts: int, recurring: float, new: float) -> Statement:
    """Say what was forecast, for which patients, and by which rule each of the `verdicts` was made.

    “Better” needs a gain in recall: a difference of at least `recurring` for recurring concepts, and a factor of at least `new` for
    new ones.
    """
    return say(
        "Nothing was learned from patients in the test set. For each of them, a visit was drawn at random, and ten concepts were"
        " forecast to follow, separately among concepts that the patient never had (new) and concepts that the patient had before"
        " (recurring). Recall at ten: the share of the recorded concepts that are among the ten. The baselines are counted in the"
        " training set. Neither the forecast nor a baseline knows the day of the next visit. “Better” requires an interval above"
        " zero and a gain that matters to a reader: {recurring:.0f} percentage points for recurring concepts, {new:g} times as"
        " many new concepts. “Hardly better”: the interval lies above zero, but the gain is smaller. The {verdicts} are not"
        " adjusted for their number.",
        recurring=100 * recurring,
        new=new,
        verdicts=counted(verdicts, "verdict"),
    )
