from typing import Any

import pytest

from ehr_pipeline.prediction_report.definitions import sentences
from ehr_pipeline.tasks.table import Definition

NAMES = {"C9": "Asthma", "C1": "Eczema", "C3": "Hay fever", "C2": "Wheeze"}
OF = "The outcome is “Eczema”. "
LEFT = "Patients who leave within the window without the outcome are excluded."


def defined(
    *outcome: str, index: str = "landmark", incident: bool = False, entry: tuple[str, ...] = (), **rule: Any
) -> Definition:
    return Definition(0, "Name", "name", outcome or ("C1",), entry, index, False, incident, rule)


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (
            defined("MEDS_DEATH", incident=True, from_visit=3, ages=[50, 150], opens=1, closes=730),
            "At a random visit (visit 3 or later), using everything recorded before that day: does the patient die in the"
            f" 730 days after it? Only patients aged 50 or over. {LEFT}",
        ),
        (
            defined(
                index="first_entry",
                entry=("C2", "C3", "C7", "C8", "C9"),
                incident=True,
                kind="first",
                opens=31,
                closes=395,
                sex="F",
                ages=(16, 44),
            ),
            "On the first day with “Asthma”, “Hay fever”, “Wheeze” or 2 more, using everything recorded before that day: is the"
            f" outcome recorded for the first time ever in the 365 days that start on day 31 after it? {OF}Only patients aged 16"
            f" to 44, of sex F, without the outcome before. {LEFT}",
        ),
        (
            defined(
                index="calendar",
                kind="stop",
                stop_days=270,
                lookback=365,
                last=0,
                opens=1,
                closes=90,
                censor=True,
                dates=[14610, 14975, 15340, 15706],
            ),
            "On 2010-01-01, 2011-01-01, 2012-01-01 and 1 more, using what was recorded in the 365 days that end on that day:"
            " does the treatment end (no record of it for 270 days) in the 90 days after it?"
            f" {OF}Weights make up for patients who leave within the window.",
        ),
        (
            defined(index="file", outcome_days=2, opens=0, closes=364, per_patient=2, min_visits=2, min_observed=365),
            "On the dates given in a file, using everything recorded before that day: is the outcome recorded on at least 2 days in"
            f" the 365 days that start on that day? {OF}Only patients with at least 2 visits before,"
            f" observed for at least 365 days before. {LEFT}",
        ),
    ],
)
def test_a_task_is_a_question(definition: Definition, words: str) -> None:
    assert sentences(definition, NAMES) == words


def test_who_is_at_risk_is_named_by_concepts_that_may_be_shown() -> None:
    task = defined("C7", "C8", "C9", entry=("C1",), exclude=["C2", "C7"], from_visit=1)
    words = sentences(task, NAMES, "about 160 of 790 predictions")
    assert (
        "The outcome is “Asthma” or 2 more. Only patients with “Eczema” before, without “Wheeze” or 1 more before."
        in words
    )
    assert words.endswith(
        "die within the window without the outcome count as free of it: about 160 of 790 predictions."
    )
    assert "The outcome is 2 concepts." in sentences(defined("C7", "C8"), NAMES)


def test_how_many_cases_are_recorded_on_one_day_only() -> None:
    told = sentences(defined(), NAMES, "about 20 of about 300 index dates", "about 40 of about 60 index dates with it")
    assert told.endswith(
        "count as free of it: about 20 of about 300 index dates. The outcome is recorded on a single day only: about 40 of about"
        " 60 index dates with it."
    )
