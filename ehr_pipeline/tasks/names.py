"""Names of tasks for people to read: a task of the screen has the name of its concept, if that name may be shown."""

from collections.abc import Sequence

from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.errors import printable
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.tables.asset_names import DATA_SPLIT, VOCABULARY
from ehr_pipeline.tasks.rule import SCREEN
from ehr_pipeline.vocabulary.table import Vocabulary


def names(vocabulary: Vocabulary, naming: Naming) -> dict[str, str]:
    """Return the names of the concepts that may be shown, by the name of the screen's task in `task_labels`."""
    may = vocabulary.nameable(naming)
    return {f"{SCREEN}{one.concept}": one.name for one in vocabulary.concepts if one.concept in may}


def for_messages(named: Sequence[str], store: Store, below: int) -> list[str]:
    """Return the names of some tasks for a message, in the same order. `below`: counts below this number are suppressed."""
    if not named:
        return []
    key = store.current(DATA_SPLIT).manifest["settings"]["key"]
    found = names(Vocabulary.read(store.current(VOCABULARY).path), Naming(below, key))
    return [printable(found.get(name, name)) for name in named]
