"""Settings of the clinical tasks: which outcome is predicted, for whom, and from which day."""

import datetime
import re
from collections.abc import Iterator
from typing import Literal

from ehr_pipeline.typed_settings import option, settings

RESERVED = "tasks"
"""No task may have this name: a count with this name is stored next to the counts of the tasks."""


def list_of(number: int, name: str) -> str:
    """Return the name of the setting for a concept list (`outcome`, `entry` or `exclude`) of the task with this number."""
    return f"tasks.task[{number}].{name}"


def slug(name: str) -> str:
    """Return the file name of a task: lower-case letters and digits, joined by underscores."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


@settings
class Task:
    """One task. The index date is the day on which the prediction is made. Days with a concept are calendar days, not rows."""

    file: str = option(
        "A file with values for all settings that are not given here, such as a file in data/tasks. Paths in the file are"
        " relative to the file.",
        "",
        role="input",
    )
    name: str = option("Name of the task. Its labels are in labels/NAME.parquet, in lower case with underscores.")
    outcome: str = option(
        "Concept list (CSV) of the outcome. Empty for a death, a MEDS label file, or an ACES file.", "", role="list"
    )
    outcome_kind: Literal["recorded", "first", "stop", "death"] = option(
        "What the outcome is. 'recorded': a concept from the list is recorded; 'first': a concept from the list is recorded for"
        " the first time ever, such as the first prescription of a drug; 'stop': no concept from the list has been recorded for"
        " `stop_days`, such as when a treatment ended; 'death'.",
        "recorded",
    )
    outcome_days: int = option(
        "Number of days in the window with a concept from the list that make a patient a case.", 1, ge=1
    )
    stop_days: int = option(
        "For outcome_kind = 'stop': days without a concept from the list after which the treatment is taken to have stopped.",
        180,
        ge=1,
    )
    entry: str = option(
        "Concept list (CSV) that puts patients at risk. Empty: all patients are at risk.", "", role="list"
    )
    entry_days: int = option(
        "Number of days with a concept from the entry list; the last of them is the day of entry.", 1, ge=1
    )
    exclude: str = option(
        "Concept list (CSV). Patients with one of its concepts before the index date are left out.", "", role="list"
    )
    index: Literal["landmark", "first_entry", "calendar", "file"] = option(
        "How the index date is chosen. 'landmark': a visit drawn at random (the same one for the same seed and split);"
        " 'first_entry': the day of entry; 'calendar': the days in `index_dates`; 'file': the days in `index_file`.",
        "landmark",
    )
    index_dates: tuple[str, ...] = option("Index dates (YYYY-MM-DD) for index = 'calendar'.", ())
    index_file: str = option(
        "File in the MEDS label schema (Parquet or CSV) for index = 'file': prediction_time, and subject_id (as `export meds`"
        " writes it) or patient_id. Without an outcome, its boolean_value is the label.",
        "",
        role="list",
    )
    from_visit: int = option(
        "Number of the first visit that can be a landmark: with 3, at least two visits come before it.", 3, ge=1
    )
    per_patient: int = option("Number of landmarks for each patient.", 1, ge=1, le=20)
    index_day: Literal["neither", "history", "outcome"] = option(
        "Whether events of the index date itself are 'history', 'outcome' or 'neither'. The default is 'neither', because the"
        " order of events within a day is not known.",
        "neither",
    )
    lookback_days: int = option("Number of days of history to use; 0: all.", 0, ge=0)
    gap_days: int = option(
        "Days between the index date and the window. A gap leaves room for the work-up of a diagnosis.", 0, ge=0
    )
    window_days: int = option("Length in days of the window in which the outcome is looked for.", 365, ge=1)
    incident: bool = option(
        "Whether patients who had the outcome before the window are left out. If not, recurrences are outcomes too.",
        True,
    )
    min_visits: int = option("Minimum number of visits in the history.", 1, ge=1)
    min_observed_days: int = option(
        "Minimum number of days for which a patient was observed before the index date.", 0, ge=0
    )
    min_age: int = option("Youngest age in years on the index date.", 0, ge=0)
    max_age: int = option("Oldest age in years on the index date.", 150, ge=0)
    sex: str = option("Sex of the patients at risk, as in the data set ('F' or 'M'). Empty: all.", "")
    follow_up: Literal["require", "censor"] = option(
        "Patients who leave during the window without the outcome are left out, because they may have had it later. 'require':"
        " all others have the same weight; 'censor': they are weighted by the inverse of their chance of having been followed"
        " for that long (Uno 2007).",
        "require",
    )
    aces: str = option(
        "A task file of ACES (YAML) in place of outcome, entry, index, gap, window, lookback, history and incident.",
        "",
        role="list",
    )

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        if not slug(self.name) or slug(self.name) == RESERVED:
            yield f"name {self.name!r} cannot be a file name: use letters and digits, and not {RESERVED!r} alone."
        if self.aces:
            yield from self._aces_conflicts()
            return
        of_file = self.index == "file" and not self.outcome and self.outcome_kind == "recorded"
        if not self.outcome and self.outcome_kind != "death" and not of_file:
            yield "set outcome to a concept list, unless outcome_kind = 'death' or index_file contains the labels."
        if self.outcome and self.outcome_kind == "death":
            yield "a death has no outcome list: remove outcome, and list the codes of deaths in tasks.death."
        if self.index == "first_entry" and not self.entry:
            yield "index = 'first_entry' needs entry, the concept list that puts patients at risk."
        if self.min_age > self.max_age:
            yield f"min_age ({self.min_age}) is above max_age ({self.max_age})."
        if self.outcome_kind in ("first", "stop", "death") and self.outcome_days > 1:
            yield f"outcome_days must be 1 for outcome_kind = {self.outcome_kind!r}, which happens on one day."
        yield from self._index_problems()

    def _index_problems(self) -> Iterator[str]:
        for kind, name in (("calendar", "index_dates"), ("file", "index_file")):
            if (self.index == kind) != bool(getattr(self, name)):
                yield f"{name} belongs to index = {kind!r}: give both, or neither."
        for date in self.index_dates:
            try:
                datetime.date.fromisoformat(date)
            except ValueError:
                yield f"index_dates must be dates of the form YYYY-MM-DD. Got {date!r}."
        if len(set(self.index_dates)) < len(self.index_dates):
            yield "index_dates lists a date twice: remove one of them."

    def _aces_conflicts(self) -> Iterator[str]:
        of_aces = (
            *("outcome", "outcome_kind", "outcome_days", "entry", "entry_days", "index", "index_dates", "index_file"),
            *("from_visit", "per_patient", "index_day", "lookback_days", "gap_days", "window_days", "incident"),
        )
        plain = Task(name=self.name)
        if others := [name for name in of_aces if getattr(self, name) != getattr(plain, name)]:
            yield f"the file in aces replaces {', '.join(others)}: remove these settings."


@settings
class TasksSettings:
    """Clinical tasks: who is labelled, when, and how. Tasks need a test set (`patients.split.test_share` or `column`)."""

    screen: int = option(
        "Number of tasks to make automatically, each for one frequent concept of the pooled semantic types: whether the concept"
        " is recorded within 365 days of a landmark. Concepts with enough cases, judged by the training set, come first. 0: none.",
        0,
        ge=0,
        le=1000,
    )
    screen_landmarks: int = option(
        "Number of landmarks for each patient in these tasks. With few patients, more landmarks give more cases.",
        1,
        ge=1,
        le=20,
    )
    death: str = option(
        "Concept list (CSV) of codes that record a death. They are used in addition to dates of death (OMOP, MEDS, CPRD Aurum,"
        " or `columns.death` of the patient files); the earliest date is used.",
        "",
        role="list",
    )
    death_attribute: str = option("Attribute of the patients that contains the date of death. Empty: none.", "")
    death_date_format: str = option("Format of the dates in that attribute.", "%Y-%m-%d")
    observed_until: Literal["last_event", "extract"] = option(
        "How long patients without a known end of observation are followed: to their last event, or to the day of the newest"
        " extract. 'extract' is right if all patients without an end of observation are still registered.",
        "last_event",
    )
    task: tuple[Task, ...] = option("The tasks.", ())
    workers: int = option("Number of buckets processed in parallel.", 1, role="tuning", ge=1, le=512)

    @property
    def any(self) -> bool:
        """Whether there is any task."""
        return bool(self.screen or self.task)

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        slugs = [slug(task.name) for task in self.task]
        if len(set(slugs)) < len(slugs):
            yield f"tasks have the same file name: rename one. Got {', '.join(repr(task.name) for task in self.task)}."
