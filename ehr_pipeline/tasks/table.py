"""Read and write task labels. GPU workers import this module, so it does not use polars.

rows/<bucket>.arrow             schemas.TASK_LABELS: the labels of all tasks for the patients of a shard of the data set
labels/<task>.parquet           the MEDS label schema, for other programs tasks.json                      the tasks: name,
definition, concepts, and weights by days of follow-up
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ehr_pipeline.errors import Damaged
from ehr_pipeline.tables import schemas

ROWS, LABELS, FILE = "rows", "labels", "tasks.json"


@dataclass(frozen=True)
class Definition:
    """The definition of a task in a `task_labels` artifact."""

    number: int
    """The number of the task in the tables."""
    name: str
    slug: str
    outcome: tuple[str, ...]
    """The concepts of the outcome, sorted."""
    entry: tuple[str, ...]
    index: str
    index_may_know_outcome: bool
    """Whether the index dates come from a user's file: they may have been chosen by the outcome."""
    incident: bool
    rule: dict[str, Any]
    """All numbers of the rule, for people to read."""
    weights: tuple[float, ...] = ()
    """Weights of labels by days of follow-up (0, 1, …), which correct for patients who left; empty if all weights are 1."""


def write(folder: Path, definitions: Sequence[Definition]) -> None:
    """Write the definitions of the tasks; `definitions` reads them."""
    text = json.dumps([asdict(each) for each in definitions], indent=1, ensure_ascii=False)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def definitions(folder: Path) -> tuple[Definition, ...]:
    """Read the definitions of the tasks of a `task_labels` artifact. Raises Damaged."""
    try:
        rows = json.loads((folder / FILE).read_text(encoding="utf-8"))
        lists = ("outcome", "entry", "weights")
        return tuple(Definition(**{**each, **{name: tuple(each[name]) for name in lists}}) for each in rows)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Damaged(
            f"{folder / FILE}: cannot be read. Rebuild task_labels (ehr-pipeline run --select task_labels)."
        ) from error


def shards(folder: Path) -> Iterator[tuple[str, pa.Table]]:
    """Yield the file name of each shard of the data set, and the labels of all tasks for it, mapped into memory."""
    for path in sorted((folder / ROWS).glob("[!.]*.arrow")):
        yield path.name, schemas.read_as(path, schemas.TASK_LABELS)


def rows_of_task(table: pa.Table, definition: Definition) -> pa.Table:
    """Return the rows of one task."""
    return table.filter(pc.equal(table.column("task"), definition.number))


def weights(table: pa.Table, definition: Definition) -> NDArray[np.float64]:
    """Return the weights (n,) of the rows of one task."""
    followed = table.column("followed_days").to_numpy()
    if not definition.weights:
        return np.ones(len(followed))
    by_row: NDArray[np.float64] = np.array(definition.weights)[followed]
    return by_row
