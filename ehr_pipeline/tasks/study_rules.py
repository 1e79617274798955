"""Build the rules of a study's tasks from its settings and its task files."""

import datetime
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import catalog as records
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tasks import aces, screen
from ehr_pipeline.tasks.records import Deaths
from ehr_pipeline.tasks.rule import EPOCH, Rule, from_task, shared_values
from ehr_pipeline.tasks.screen import Screen
from ehr_pipeline.tasks.settings import TasksSettings, list_of, slug
from ehr_pipeline.vocabulary.table import Vocabulary

LISTS = ("outcome", "entry", "exclude")
DEATH = "tasks.death"
NO_TEST_SET = (
    "Tasks are scored on patients from whom nothing was learned, but the split has no test set. Set patients.split.test_share"
    " (such as 0.1), or patients.split.column if the data set has its own split; or remove [tasks]."
)


def lists(settings: TasksSettings) -> dict[str, str]:
    """Return the files of the tasks' concept lists, by the name of the setting."""
    paths = {DEATH: settings.death}
    for number, task in enumerate(settings.task):
        paths |= {list_of(number, name): getattr(task, name) for name in LISTS}
    return {where: path for where, path in paths.items() if path}


def rules(
    settings: TasksSettings,
    resolved: Mapping[str, frozenset[str]],
    concepts: Collection[str],
    visit_window: int,
) -> list[Rule]:
    """Return the rules of the study's own tasks. `resolved` has the concepts of each list, by setting; `concepts` are all recorded
    concepts.

    Raises InputError for a list without concepts, and for an ACES file that is not supported.
    """
    for where, concepts_of_list in resolved.items():
        if not concepts_of_list:
            raise InputError(
                f"{where}: no row of this list matches a concept, so the task would have no cases. Check its codes with"
                " `ehr-pipeline find-codes`, or remove the task."
            )
    result = []
    for number, task in enumerate(settings.task):
        task_lists = {name: resolved[where] for name in LISTS if (where := list_of(number, name)) in resolved}
        if task.aces:
            rule = aces.read(Path(task.aces), task.name, concepts)
            result.append(replace(rule, **shared_values(task, task_lists, visit_window)))
        else:
            result.append(from_task(task, task_lists, visit_window))
    return result


def screen_of(settings: TasksSettings, vocabulary: Vocabulary, types: Collection[str], visit_window: int) -> Screen:
    """Return the tasks from which the screen chooses. Raises InputError if a task of the study has the name of one of them."""
    found = screen.of(settings, vocabulary, types, visit_window)
    slugs = {rule.slug for rule in found.candidates}
    if taken := next((task.name for task in settings.task if slug(task.name) in slugs), ""):
        raise InputError(f"[[tasks.task]] {taken!r} has the same name as a task made by tasks.screen. Rename it.")
    return found


def deaths(settings: TasksSettings, resolved: Mapping[str, frozenset[str]]) -> Deaths:
    """Return how deaths are recorded in this study."""
    return Deaths(resolved.get(DEATH, frozenset()), settings.death_attribute, settings.death_date_format)


def follow_up_end(settings: TasksSettings, catalog: Artifact) -> int | None:
    """Return the day until which patients without a known end of observation are followed; None: until their last event.

    Raises InputError if it should be the day of the newest extract, but that extract is not named by a date.
    """
    if settings.observed_until == "last_event":
        return None
    newest = max(records.read(catalog.path))
    try:
        return (datetime.date.fromisoformat(newest) - EPOCH).days
    except ValueError:
        raise InputError(
            f"tasks.observed_until is 'extract', but the newest extract ({newest!r}) is not named by a date. Rename its folder"
            " YYYY-MM-DD, or set tasks.observed_until = 'last_event'."
        ) from None


def landmark_key(key: str, seed: int) -> tuple[int, int]:
    """Return the two 64-bit words that key the draw of landmarks, from the key of the split and the study's seed."""
    digest = hashlib.blake2b(f"landmarks {seed}".encode(), digest_size=16, key=key.encode()[:64]).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
