"""The section on the next concepts: what it says, and that it is left out where nothing was judged."""

from dataclasses import replace
from pathlib import Path

from ehr_pipeline.disclosure.suppression import Disclosure
from ehr_pipeline.forecasts.table import empty
from ehr_pipeline.prediction_report import next_concepts, page
from ehr_pipeline_tests.prediction_report.invented import foreseen, results
from ehr_pipeline_tests.prediction_report.test_page import BETTER, findings, text_of


def test_no_better_than_counting_is_said_with_all_baselines_beside_it(tmp_path: Path) -> None:
    text = text_of(page.render(replace(findings(results(("a", "b"), BETTER), tmp_path), forecasts=foreseen())))
    assert "Forecasts of the next concepts" in text
    assert "the forecast is no better than counting, as far as can be shown" in text
    assert "72.5 % (71.5–73.5)" in text
    assert "58.0 % (57.0–59.0)" in text
    assert "about 1,230" in text
    assert "1,234" not in text[text.index("Nothing was learned from patients in the test set") :]
    assert "-0.4 to +1.4 points" in text
    assert "98.0 % by popularity alone" in text
    assert [str(each)[:60] for each in next_concepts.head(foreseen(), Disclosure(10))] == [
        "For concepts that a patient had before, within a year, the f"
    ]


def test_figures_of_few_patients_are_not_shown(tmp_path: Path) -> None:
    """A recall of nine patients is a count of what they had."""
    text = text_of(page.render(replace(findings(results(("a",), BETTER), tmp_path), forecasts=foreseen(9))))
    assert "recurring &lt;10 – – – – –" in text
    assert "By the metric of the Foresight study" not in text
    assert "Finding" not in text


def test_where_nothing_was_judged_there_is_no_section(tmp_path: Path) -> None:
    assert "Forecasts of the next concepts" not in page.render(findings(results(("a", "b"), BETTER), tmp_path))
    assert next_concepts.head(empty(), Disclosure(10)) == []
