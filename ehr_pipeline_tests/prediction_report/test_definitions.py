from typing import Any

import pytest

from ehr_pipeline.prediction_report.definitions import sentences
from ehr_pipeline.tasks.table import Definition

LEFT = "Patients who leave within the window without the outcome are left out."


def defined(outcome: str = "C1", index: str = "landmark", incident: bool = False, **rule: Any) -> Definition:
    return Definition(0, "Name", "name", (outcome,), (), index, False, incident, rule)


@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (
            defined("MEDS_DEATH", incident=True, from_visit=3, ages=[50, 150], opens=1, closes=730),
            "On a visit drawn at random (visit 3 or later), from all that was recorded before that day: does the patient die in the"
            f" 730 days after it? Of patients aged 50 or over. {LEFT}",
        ),
        (
            defined(index="first_entry", incident=True, kind="first", opens=31, closes=395, sex="F", ages=(16, 44)),
            "On the day of entry, from all that was recorded before that day: is the outcome recorded for the first time ever in"
            f" the 365 days from day 31 after it on? Of patients aged 16 to 44, of sex F, without the outcome before. {LEFT}",
        ),
        (
            defined(
                index="calendar", kind="stop", stop_days=270, lookback=365, last=0, opens=1, closes=90, censor=True
            ),
            "On fixed dates, from what was recorded in the 365 days that end with it: does the treatment end (no record of it for"
            " 270 days) in the 90 days after it? Patients who leave within the window are made up for by weights.",
        ),
        (
            defined(index="file", outcome_days=2, opens=0, closes=364, per_patient=2, min_visits=2, min_observed=365),
            "On the days of a file, from all that was recorded before that day: is the outcome recorded on at least 2 days in the"
            f" 365 days from that day on? Of patients with at least 2 visits before, observed for at least 365 days before. {LEFT}",
        ),
    ],
)
def test_a_task_is_a_question(definition: Definition, words: str) -> None:
    assert sentences(definition) == words
