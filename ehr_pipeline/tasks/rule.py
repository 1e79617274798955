"""A task with resolved concept lists: all that labelling a bucket needs, without files or settings.

Days are counted from the index date, which is 0. The history ends on day `last`; the window is from day `opens` to day `closes`.
"""

import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ehr_pipeline.tasks.meds import DEATH
from ehr_pipeline.tasks.settings import Task, slug

FOREVER = 1 << 20
"""More days than any record spans."""
VISIT = "any visit"
"""Used in place of a concept, for any visit of the data set."""
EPOCH = datetime.date(1970, 1, 1)
SCREEN = "screen "
"""Prefix of the names of screening tasks; the concept follows."""


@dataclass(frozen=True)
class Condition:
    """A limit on the number of days with one of the concepts, from day `first` to day `last` after the index date (inclusive)."""

    concepts: frozenset[str]
    first: int
    last: int
    minimum: int = 0
    maximum: int = FOREVER


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Who is labelled, when, and how."""

    name: str
    outcome: frozenset[str] = frozenset()
    kind: str = "recorded"
    """'recorded', 'first' or 'stop', as in the settings; a death is the concept DEATH."""
    outcome_days: int = 1
    stop_days: int = 0
    entry: frozenset[str] | None = None
    """Concepts that put a patient at risk; None: all patients are at risk."""
    entry_days: int = 1
    exclude: frozenset[str] = frozenset()
    index: str = "landmark"
    """'landmark', 'first_entry', 'calendar', 'file', or 'trigger': each day with a concept of `entry` (ACES)."""
    dates: tuple[int, ...] = ()
    file: str = ""
    from_visit: int = 1
    per_patient: int = 1
    last: int = -1
    opens: int = 1
    closes: int = 365
    lookback: int = 0
    incident: bool = True
    min_visits: int = 1
    min_observed: int = 0
    ages: tuple[int, int] = (0, 150)
    sex: str = ""
    conditions: tuple[Condition, ...] = ()
    censor: bool = False
    visit_window: int = 0
    """A visit of the data set may include this many days after its date. It is in the history only if all of these days are."""

    @property
    def slug(self) -> str:
        """The file name of the task, made from its name."""
        return slug(self.name)

    @property
    def labelled_by_file(self) -> bool:
        """Whether the labels come from the user's file."""
        return self.index == "file" and not self.outcome

    @property
    def concepts(self) -> frozenset[str]:
        """All concepts that the rule uses."""
        others = frozenset[str]().union(*(condition.concepts for condition in self.conditions))
        return self.outcome | (self.entry or frozenset()) | self.exclude | others


def shared_values(task: Task, lists: Mapping[str, frozenset[str]], visit_window: int) -> dict[str, Any]:
    """Return the values of a rule that come from the task's settings even if an ACES file gives all others."""
    return {
        "exclude": lists.get("exclude", frozenset()),
        "min_visits": task.min_visits,
        "min_observed": task.min_observed_days,
        "ages": (task.min_age, task.max_age),
        "sex": task.sex,
        "censor": task.follow_up == "censor",
        "visit_window": visit_window,
    }


def from_task(task: Task, lists: Mapping[str, frozenset[str]], visit_window: int) -> Rule:
    """Return the rule of a task without an ACES file. `lists` maps the setting of each of its lists to the concepts."""
    day_counts = task.index_day == "outcome"
    opens = task.gap_days + (0 if day_counts else 1)
    death = task.outcome_kind == "death"
    return Rule(
        name=task.name,
        outcome=frozenset({DEATH}) if death else lists.get("outcome", frozenset()),
        kind="recorded" if death else task.outcome_kind,
        outcome_days=task.outcome_days,
        stop_days=task.stop_days,
        entry=lists.get("entry") if task.entry else None,
        entry_days=task.entry_days,
        index=task.index,
        dates=tuple((datetime.date.fromisoformat(date) - EPOCH).days for date in task.index_dates),
        file=task.index_file,
        from_visit=task.from_visit,
        per_patient=task.per_patient,
        last=0 if task.index_day == "history" else -1,
        opens=opens,
        closes=opens + task.window_days - 1,
        lookback=task.lookback_days,
        incident=task.incident,
        **shared_values(task, lists, visit_window),
    )


def from_concept(concept: str, visit_window: int, per_patient: int = 1) -> Rule:
    """Return the rule of a screening task: one concept within 365 days of a landmark, whether or not it was recorded before."""
    return Rule(
        name=f"{SCREEN}{concept}",
        outcome=frozenset({concept}),
        from_visit=3,
        per_patient=per_patient,
        incident=False,
        visit_window=visit_window,
    )
