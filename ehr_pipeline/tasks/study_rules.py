"""Make the rules of a study's tasks, from its settings, its task files, and the screen (one task for each frequent concept)."""

import datetime
import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ehr_pipeline.errors import InputError
from ehr_pipeline.records import catalog as records
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tasks import aces
from ehr_pipeline.tasks.records import Deaths
from ehr_pipeline.tasks.rule import EPOCH, Rule, for_all, of_concept, of_task
from ehr_pipeline.tasks.settings import TasksSettings, list_of
from ehr_pipeline.vocabulary.table import Vocabulary

LISTS = ("outcome", "entry", "exclude")
DEATH = "tasks.death"
FEWEST_PATIENTS = 50
"""The screen takes a concept only if at least this many patients have it, because the name of the task reveals the concept."""
NO_TEST_SIDE = (
    "Tasks are judged on patients from whom nothing was learned, but the split has no test side. Set patients.split.test_share"
    " (such as 0.1), or patients.split.column for a split of the data set's own; or remove [tasks]."
)


def lists(settings: TasksSettings) -> dict[str, str]:
    """Return the concept lists of the tasks: path of each file by the name of its setting."""
    found = {DEATH: settings.death}
    for number, task in enumerate(settings.task):
        found |= {list_of(number, name): getattr(task, name) for name in LISTS}
    return {where: path for where, path in found.items() if path}


def screen(vocabulary: Vocabulary, types: Collection[str], number: int) -> list[str]:
    """Return the `number` concepts of these semantic types that most patients have; of all concepts, if none has a type."""
    typed = [one for one in vocabulary.concepts if one.semantic_types]
    chosen = [one for one in typed if set(one.semantic_types) & set(types)] if typed else list(vocabulary.concepts)
    ordered = sorted(chosen, key=lambda one: (-one.patients, one.concept))
    return [one.concept for one in ordered[:number] if one.patients >= FEWEST_PATIENTS]


def rules(
    settings: TasksSettings,
    resolved: Mapping[str, frozenset[str]],
    screened: Sequence[str],
    concepts: Collection[str],
    visit_window: int,
) -> list[Rule]:
    """Return the rules of all tasks. `resolved` has the concepts of each list, by setting; `concepts` are all recorded concepts.

    Raises InputError for a list without any concept, for an ACES file that is not supported, and for two tasks with one name.
    """
    for where, found in resolved.items():
        if not found:
            raise InputError(f"{where}: no row of this list stands for a concept, so the task would have no cases.")
    made = []
    for number, task in enumerate(settings.task):
        own = {name: resolved[where] for name in LISTS if (where := list_of(number, name)) in resolved}
        if task.aces:
            rule = aces.read(Path(task.aces), task.name, concepts)
            made.append(replace(rule, **for_all(task, own, visit_window)))
        else:
            made.append(of_task(task, own, visit_window))
    made += [of_concept(concept, visit_window) for concept in screened]
    slugs = [rule.slug for rule in made]
    if len(set(slugs)) < len(slugs):
        raise InputError("Two tasks have one name, a named one and one of the screen: call the named one otherwise.")
    return made


def deaths(settings: TasksSettings, resolved: Mapping[str, frozenset[str]]) -> Deaths:
    """Return how deaths are recorded in this study."""
    return Deaths(resolved.get(DEATH, frozenset()), settings.death_attribute, settings.death_date_format)


def until(settings: TasksSettings, catalog: Artifact) -> int | None:
    """Return the day until which patients without a known end of observation are followed; None: until their last event.

    Raises InputError if the day is that of the newest extract, but the extract is not named by a date.
    """
    if settings.observed_until == "last_event":
        return None
    newest = max(records.read(catalog.path))
    try:
        return (datetime.date.fromisoformat(newest) - EPOCH).days
    except ValueError:
        raise InputError(
            f"tasks.observed_until is 'extract', but the newest extract ({newest!r}) is not named by a date (YYYY-MM-DD)."
        ) from None


def draw(key: str, seed: int) -> tuple[int, int]:
    """Return the two 64-bit words that key the draw of landmarks, made from the key of the split and the seed of the study."""
    digest = hashlib.blake2b(f"landmarks {seed}".encode(), digest_size=16, key=key.encode()[:64]).digest()
    return int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
