"""Describe a task in words: on which day, from which history, which outcome in which window, and for which patients."""

import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ehr_pipeline.reports.statements.statement import counted
from ehr_pipeline.tasks.meds import DEATH
from ehr_pipeline.tasks.rule import EPOCH, VISIT
from ehr_pipeline.tasks.table import Definition

OLDEST = 150
"""An upper age limit that excludes nobody."""
FEW = 3
"""Most concepts of a list, and most index dates, that are named; more are counted."""


def sentences(definition: Definition, names: Mapping[str, str], died: str = "", on_one_day: str = "") -> str:
    """Return sentences on the question of a task, and on who is at risk.

    `names`: names of the concepts that may be shown, the most frequent first. `died`: in words, for how many index dates the
    patient died within the window without the outcome; `on_one_day`: for how many with the outcome the whole record has it on a
    single day. Empty if there are none."""
    rule = definition.rule
    question = f"{_day(definition, names)}, using {_history(rule)}: {_outcome(definition)} {_window(rule)}?"
    of = "" if definition.outcome == (DEATH,) else f"The outcome is {_concepts(definition.outcome, names)}. "
    whom = ", ".join(_risk(definition, names))
    left = (
        "Weights make up for patients who leave within the window."
        if rule.get("censor")
        else "Patients who leave within the window without the outcome are excluded."
    )
    dead = f" Patients who die within the window without the outcome count as free of it: {died}." if died else ""
    once = f" The outcome is recorded on a single day only: {on_one_day}." if on_one_day else ""
    return f"{question} {of if definition.outcome else ''}{f'Only patients {whom}. ' if whom else ''}{left}{dead}{once}"


def _concepts(concepts: Iterable[str], names: Mapping[str, str]) -> str:
    """Return the most frequent concepts of a list by name, and how many more there are. Any of them is enough."""
    every = set(concepts)
    if every == {VISIT}:
        return VISIT
    shown = [f"“{name}”" for concept, name in names.items() if concept in every]
    return _first(shown, len(every), "or") if shown else counted(len(every), "concept")


def _first(shown: list[str], of: int, last: str) -> str:
    """Return the first FEW of some words, and how many more there are, as a list in a sentence. `last` stands before its end."""
    parts = shown[:FEW]
    parts += [f"{of - len(parts):,} more"] if of > len(parts) else []
    return f" {last} ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _day(definition: Definition, names: Mapping[str, str]) -> str:
    rule = definition.rule
    match definition.index:
        case "landmark":
            days = rule.get("per_patient", 1)
            return f"At {'a random visit' if days == 1 else f'{days} random visits'} (visit {rule.get('from_visit', 1)} or later)"
        case "first_entry":
            nth = rule.get("entry_days", 1)
            return (
                f"On the {'first day' if nth == 1 else f'day number {nth}'} with {_concepts(definition.entry, names)}"
            )
        case "calendar":
            dates = [str(EPOCH + datetime.timedelta(days=day)) for day in rule.get("dates", ())]
            return f"On {_first(dates, len(dates), 'and')}"
        case "file":
            return "On the dates given in a file"
    return f"On each day with a trigger event of the task file ({_concepts(definition.entry, names)})"


def _history(rule: Mapping[str, Any]) -> str:
    last, lookback = rule.get("last", -1), rule.get("lookback", 0)
    until = {-1: "before that day", 0: "up to and including that day"}.get(last) or f"up to day {last} after it"
    if not lookback:
        return f"everything recorded {until}"
    return f"what was recorded in the {lookback:,} days {'that end on that day' if last == 0 else until}"


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
    return f"in the {days} that start on {'that day' if opens == 0 else f'day {opens} after it'}"


def _risk(definition: Definition, names: Mapping[str, str]) -> Iterator[str]:
    rule = definition.rule
    if definition.entry and definition.index not in ("first_entry", "trigger", "file"):
        yield f"with {_concepts(definition.entry, names)} before"
    if rule.get("exclude"):
        yield f"without {_concepts(rule['exclude'], names)} before"
    if rule.get("conditions"):
        yield f"who meet {counted(rule['conditions'], 'further condition')} of the task file"
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
