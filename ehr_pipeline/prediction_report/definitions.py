"""Describe a task in words: on which day, from which history, which outcome in which window, and for which patients."""

from collections.abc import Iterator, Mapping
from typing import Any

from ehr_pipeline.tasks.meds import DEATH
from ehr_pipeline.tasks.table import Definition

OLDEST = 150
"""An upper age limit that excludes nobody."""


def sentences(definition: Definition) -> str:
    """Return sentences on the question of a task, and on who is at risk."""
    rule = definition.rule
    question = f"{_day(definition)}, from {_history(rule)}: {_outcome(definition)} {_window(rule)}?"
    whom = ", ".join(_risk(definition))
    left = (
        "Patients who leave within the window are made up for by weights."
        if rule.get("censor")
        else "Patients who leave within the window without the outcome are left out."
    )
    return f"{question} {f'Of patients {whom}. ' if whom else ''}{left}"


def _day(definition: Definition) -> str:
    rule = definition.rule
    match definition.index:
        case "landmark":
            days = rule.get("per_patient", 1)
            return f"On {'a visit' if days == 1 else f'{days} visits'} drawn at random (visit {rule.get('from_visit', 1)} or later)"
        case "first_entry":
            nth = rule.get("entry_days", 1)
            return "On the day of entry" + (f" (day {nth} with a code of the list)" if nth > 1 else "")
        case "calendar":
            return "On fixed dates"
        case "file":
            return "On the days of a file"
    return "On each day with the trigger of the task file"


def _history(rule: Mapping[str, Any]) -> str:
    last, lookback = rule.get("last", -1), rule.get("lookback", 0)
    until = {-1: "before that day", 0: "up to and including that day"}.get(last) or f"up to day {last} after it"
    if not lookback:
        return f"all that was recorded {until}"
    return f"what was recorded in the {lookback:,} days {'that end with it' if last == 0 else until}"


def _outcome(definition: Definition) -> str:
    rule = definition.rule
    if definition.outcome == (DEATH,):
        return "does the patient die"
    match rule.get("kind", "recorded"):
        case "first":
            return "is the outcome recorded for the first time ever"
        case "stop":
            return f"does the treatment end (no record of it for {rule['stop_days']:,} days)"
    days = rule.get("outcome_days", 1)
    return "is the outcome recorded" + (f" on at least {days} days" if days > 1 else "")


def _window(rule: Mapping[str, Any]) -> str:
    opens, closes = rule.get("opens", 1), rule.get("closes", 365)
    days = f"{closes - opens + 1:,} days"
    if opens == 1:
        return f"in the {days} after it"
    return f"in the {days} from {'that day' if opens == 0 else f'day {opens} after it'} on"


def _risk(definition: Definition) -> Iterator[str]:
    rule = definition.rule
    youngest, oldest = rule.get("ages", (0, OLDEST))
    if oldest < OLDEST:
        yield f"aged {youngest} to {oldest}"
    elif youngest:
        yield f"aged {youngest} or over"
    if rule.get("sex"):
        yield f"of sex {rule['sex']}"
    if rule.get("min_visits", 1) > 1:
        yield f"with at least {rule['min_visits']} visits before"
    if rule.get("min_observed"):
        yield f"observed for at least {rule['min_observed']:,} days before"
    if definition.incident and definition.outcome != (DEATH,):
        yield "without the outcome before"
