"""What is said of forecasts: better, or no better, than counting, with the figures."""

import pytest

from ehr_pipeline.reports.statements import forecasts
from ehr_pipeline.reports.statements.statement import Rate

ROW = {
    "horizon": "365_days",
    "list": "new",
    "verdict": "no better",
    "baseline": "popularity",
    "recall": 0.1637,
    "baseline_recall": 0.1564,
    "low": 0.004,
    "high": 0.011,
}


def test_hardly_better_than_counting_is_said_with_its_figures() -> None:
    said = forecasts.verdict(ROW, "about 1,180")
    assert str(said) == (
        "For concepts that a patient never had, within a year, the forecast is hardly better than counting. Its ten concepts"
        " include 16.4 % of those that were recorded; the ten concepts of popularity by age and sex alone include 15.6 %"
        " (difference +0.4 to +1.1 points, 95 % interval over about 1,180 patients)."
    )
    assert "is no better than counting, as far as can be shown" in str(
        forecasts.verdict({**ROW, "low": -0.001}, "about 1,180")
    )
    assert said.rate == Rate.PREDICTIONS


@pytest.mark.parametrize(("verdict", "words"), [("better", "is better than"), ("worse", "is worse than")])
def test_other_verdicts(verdict: str, words: str) -> None:
    said = str(forecasts.verdict({**ROW, "verdict": verdict, "list": "recurring", "baseline": "counting"}, "about 900"))
    assert words in said
    assert "the ten concepts of the patient's own history and popularity alone" in said.replace("&#39;", "'")


def test_of_too_few_patients_no_figure_is_shown() -> None:
    said = str(forecasts.verdict({**ROW, "verdict": "too few"}, "<10"))
    assert "too few patients" in said
    assert "%" not in said
    assert forecasts.verdict({**ROW, "verdict": "too few"}, "<10").rate == Rate.DESCRIPTION


def test_foresights_metric_stands_beside_what_popularity_gets_on_it() -> None:
    said = str(forecasts.foresight({"recurring": (0.76, 0.75), "new": (0.625, 0.621)}))
    assert "62.5 % of concepts that a patient never had (62.1 % by popularity alone)" in said
    assert "patients.split.test_share" in str(forecasts.no_verdict())


def test_the_rule_of_the_verdicts_and_their_number_are_told() -> None:
    """“No better” beside an interval of +0.1 to +1.0 points looked like a mistake."""
    told = str(forecasts.lead(6, 0.02, 1.15))
    assert "Nothing was learned" in told
    assert "2 percentage points for recurring concepts, 1.15 times as many new concepts" in told
    assert "The 6 verdicts are not adjusted for their number." in told
