"""The results of tasks as later stages read them.

results.csv, differences.csv, verdicts.csv, net_benefit.csv, subgroups.csv, calibration.csv, guards.csv, deciding_concepts.csv
                                        tables (`result_schemas`) with exact figures, so restricted
deviations.arrow                        how far AUROCs would move together with other patients (`deviations`)
predictions/<task>/<model>.parquet      the test set in the schema of meds-evaluation, before recalibration; for
                                        other programs
calibrations/<task>.json                slope and intercept by which the log-odds of each model are recalibrated
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.errors import Damaged
from ehr_pipeline.predictions import deviations, result_schemas
from ehr_pipeline.tables import schemas
from ehr_pipeline.tasks import meds

if TYPE_CHECKING:
    from ehr_pipeline.predictions.metrics import Calibration

PREDICTIONS, CALIBRATIONS, DEVIATIONS = "predictions", "calibrations", "deviations.arrow"
TABLES = {
    "results": result_schemas.RESULTS,
    "differences": result_schemas.DIFFERENCES,
    "verdicts": result_schemas.VERDICTS,
    "net_benefit": result_schemas.BENEFIT,
    "subgroups": result_schemas.SUBGROUPS,
    "calibration": result_schemas.CALIBRATION,
    "guards": result_schemas.GUARDS,
    "deciding_concepts": result_schemas.CONCEPTS,
}
PREDICTED = pa.schema(
    [
        *meds.LABELS,
        pa.field("predicted_boolean_value", pa.bool_()),
        pa.field("predicted_boolean_probability", pa.float32()),
    ]
)
"""Columns of predictions, as meds-evaluation 0.0.6 reads them."""
Row = Mapping[str, Any]
FEWEST_TO_CHOOSE, DRAWS_OF_SUBGROUPS = 20, 200
"""Fewest cases in the validation set to choose the best model by this side; most bootstrap draws for a subgroup."""
CHANCE = 0.5
"""AUROC of a model that knows nothing."""
NEARLY = 0.8
"""An outcome *nearly always* follows a concept if the lower confidence limit of the share of followed histories is above this."""


@dataclass(frozen=True)
class TaskResults:
    """The tables of a `task_results` artifact. Rows are mappings from column to value; a null is None, or '' in a text column.

    All tables are empty for a study without tasks.
    """

    results: tuple[Row, ...]
    differences: tuple[Row, ...]
    verdicts: tuple[Row, ...]
    net_benefit: tuple[Row, ...]
    subgroups: tuple[Row, ...]
    calibration: tuple[Row, ...]
    guards: tuple[Row, ...]
    deciding_concepts: tuple[Row, ...]
    deviations: pa.Table = field(default_factory=deviations.SCHEMA.empty_table)

    @classmethod
    def read(cls, folder: Path) -> "TaskResults":
        """Read the tables in the folder of an artifact. Raises Damaged."""
        return cls(
            **spreadsheet.read_tables(folder, TABLES),
            deviations=schemas.read_as(folder / DEVIATIONS, deviations.SCHEMA),
        )

    def write(self, folder: Path) -> None:
        """Write the tables, as `read` reads them."""
        spreadsheet.write_tables(folder, TABLES, vars(self))
        schemas.write(folder / DEVIATIONS, self.deviations)

    def of(self, task: str, model: str, labels: int | None) -> tuple[Row, ...]:
        """Return the rows of all replicates of a model of a task, fitted with this number of labels (None: all)."""
        wanted = (task, model, labels)
        return tuple(row for row in self.results if (row["task"], row["model"], row["labels"]) == wanted)

    def final(self, task: str, model: str) -> Row | None:
        """Return the row of a model of a task that was fitted with all labels, or needs none; None if it was not scored."""
        return next(iter((*self.of(task, model, None), *self.of(task, model, 0))), None)

    def difference(self, task: str, model: str) -> Row | None:
        """Return the row that compares a model of a task with the task's best baseline; None if it was not compared."""
        return next((row for row in self.differences if (row["task"], row["model"]) == (task, model)), None)

    def compared(self, task: str) -> str:
        """Return how the chosen model of a task compares with the best baseline: 'better', 'level' or 'worse'; '' if it was not
        compared.

        The verdict of a task can be 'not needed' in all three cases.
        """
        model = next((str(row["model"]) for row in self.verdicts if row["task"] == task), "")
        row = self.difference(task, model)
        return str(row["verdict"]) if row else ""

    def at_chance(self, verdict: Row, kind: Literal["model", "baseline"]) -> bool:
        """Return whether a task's best model, or best baseline, is no better than chance: its AUROC's interval is not above 0.5."""
        row = self.final(verdict["task"], verdict[kind])
        return row is not None and row["auroc_low"] is not None and row["auroc_low"] <= CHANCE


def empty() -> TaskResults:
    """Return the tables of a study without tasks."""
    return TaskResults(*((),) * len(TABLES))


def read_calibrations(folder: Path, task: str) -> "dict[str, Calibration]":
    """Read the recalibration of each model of a task, by name; it is missing for models with too few cases. Raises Damaged."""
    from ehr_pipeline.predictions.metrics import Calibration

    path = folder / CALIBRATIONS / f"{task}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {model: Calibration(**values) for model, values in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise Damaged(f"{path} cannot be read. Rebuild task_results (ehr-pipeline run).") from error


def joined(parts: Iterable[TaskResults]) -> TaskResults:
    """Join the rows of several parts, one after the other."""
    parts = tuple(parts)
    moved = pa.concat_tables([part.deviations for part in (*parts, empty())])
    tables = {name: tuple(row for part in parts for row in getattr(part, name)) for name in TABLES}
    return TaskResults(**tables, deviations=moved)
