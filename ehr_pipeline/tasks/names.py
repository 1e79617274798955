"""Names of tasks for people to read: a screening task has the name of its concept, if that name may be shown."""

from collections.abc import Sequence

from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.errors import printable
from ehr_pipeline.store.artifacts import Store
from ehr_pipeline.tables.asset_names import DATA_SPLIT, VOCABULARY
from ehr_pipeline.tasks.rule import SCREEN
from ehr_pipeline.vocabulary.table import Vocabulary


def names(vocabulary: Vocabulary, naming: Naming) -> dict[str, str]:
    """Return the names of the concepts that may be shown, by the name of their screening task in `task_labels`."""
    may = vocabulary.nameable(naming)
    return {f"{SCREEN}{one.concept}": one.name for one in vocabulary.concepts if one.concept in may}


def for_messages(task_names: Sequence[str], store: Store, below: int) -> list[str]:
    """Return the names of tasks as a message may show them, in the same order; in quotation marks if they contain a comma.

    `below`: counts below this number are suppressed.
    """
    if not task_names:
        return []
    key = store.current(DATA_SPLIT).manifest["settings"]["key"]
    shown = names(Vocabulary.read(store.current(VOCABULARY).path), Naming(below, key))
    printed = [printable(shown.get(name, name)) for name in task_names]
    return [f"“{name}”" if ", " in name else name for name in printed]
