"""Read and write the forecasts' results, for later stages and `ehr-pipeline forecast`.

forecasts.csv, differences.csv, verdicts.csv, concept_groups.csv, calibration.csv, foresight.csv
                          tables with exact figures, so restricted
counted.npz, counted.json rates by age and sex, and weights: what `ehr-pipeline forecast` needs beside the encoder; restricted
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.errors import Damaged
from ehr_pipeline.forecasts.cases import HORIZONS
from ehr_pipeline.forecasts.counting import Tables, Weights
from ehr_pipeline.forecasts.scores import Mixed
from ehr_pipeline.tables.schemas import INTEGER, REAL, TEXT, schema_of

Row = Mapping[str, Any]
FORECASTS = schema_of((TEXT, "horizon list model measure"), (INTEGER, "patients recorded"), (REAL, "value low high"))
"""Columns of `forecasts.csv`: a measure (at ten) of a model, with its 95 % interval over patients."""
DIFFERENCES = schema_of((TEXT, "horizon list model baseline measure"), (REAL, "difference low high ratio"))
"""Columns of `differences.csv`: a model's measure minus a baseline's, and their ratio, for the same patients."""
VERDICTS = schema_of(
    (TEXT, "horizon list verdict model baseline"),
    (INTEGER, "patients recorded"),
    (REAL, "recall baseline_recall difference low high ratio"),
)
"""Columns of `verdicts.csv`: recall at ten compared with the best baseline; 'better', 'no better', 'worse' or 'too few'."""
GROUPS = schema_of(
    (TEXT, "horizon list kind group model baseline"),
    (INTEGER, "patients recorded"),
    (REAL, "recall popularity_recall baseline_recall difference low high"),
)
"""Columns of `concept_groups.csv`: recall by semantic type and by frequency (`kind`), over concepts of all patients."""
CALIBRATION = schema_of((TEXT, "horizon list"), (INTEGER, "bin pairs recorded"), (REAL, "predicted observed"))
"""Columns of `calibration.csv`: forecast probabilities of pairs of a patient and a concept, in bins."""
FORESIGHT = schema_of((TEXT, "list model"), (INTEGER, "patients labels"), (REAL, "share"))
"""Columns of `foresight.csv` (see `foresight_metric`)."""
MEANINGS = {
    "horizon": "The next visit, or the next 30 or 365 days.",
    "list": "Ten concepts that the patient never had (new), had before (recurring), or of either kind (any).",
    "model": (
        "popularity: by age and sex; history: the patient's own concepts by count and recency; counting: both;"
        " encoder; forecast: all of these."
    ),
    "measure": "Recall, precision or nDCG, at ten.",
    "recorded": "Number of concepts recorded within the horizon.",
    "value": "Mean of the measure over patients with such a concept.",
    "low": "Lower bound of its 95 % interval, over patients.",
    "high": "Upper bound of its 95 % interval.",
}
"""The meaning of columns of `forecasts.csv`."""
TABLES = {
    "forecasts": FORECASTS,
    "differences": DIFFERENCES,
    "verdicts": VERDICTS,
    "concept_groups": GROUPS,
    "calibration": CALIBRATION,
    "foresight": FORESIGHT,
}
_RATES, _WEIGHTS = "counted.npz", "counted.json"
_ARRAYS = ("new", "recurring", "known")


@dataclass(frozen=True)
class Forecasts:
    """The tables of a `forecasts` artifact; rows are mappings from column to value. All are empty if no forecast was evaluated."""

    forecasts: tuple[Row, ...]
    differences: tuple[Row, ...]
    verdicts: tuple[Row, ...]
    concept_groups: tuple[Row, ...]
    calibration: tuple[Row, ...]
    foresight: tuple[Row, ...]

    @classmethod
    def read(cls, folder: Path) -> "Forecasts":
        """Read the tables in the folder of an artifact. Raises Damaged."""
        return cls(**spreadsheet.read_tables(folder, TABLES))

    def write(self, folder: Path) -> None:
        """Write the tables, for `read`."""
        spreadsheet.write_tables(folder, TABLES, vars(self))

    def verdict(self, horizon: str, name: str) -> Row | None:
        """Return the verdict on a list; None if no forecast was evaluated."""
        return next((row for row in self.verdicts if (row["horizon"], row["list"]) == (horizon, name)), None)


@dataclass(frozen=True)
class SavedCounting:
    """For every horizon: the counted rates, and the combination of counting with the encoder."""

    tables: dict[str, Tables]
    mixed: dict[str, Mixed]
    """By horizon; horizons for which the validation set was too small are missing."""
    gap_days: int
    """Usual number of days from a visit to the next one."""

    def write(self, folder: Path) -> None:
        """Write `counted.npz` and `counted.json`."""
        rates = {f"{name}_{kind}": getattr(each, kind) for name, each in self.tables.items() for kind in _ARRAYS}
        np.savez(folder / _RATES, **rates)
        weights: dict[str, Any] = {
            name: {kind: asdict(getattr(each, kind)) for kind in ("history", "both")}
            for name, each in self.tables.items()
        }
        for name, mixed in self.mixed.items():
            weights[name]["mixed"] = asdict(mixed)
        text = json.dumps({"gap_days": self.gap_days, "weights": weights}, indent=1)
        (folder / _WEIGHTS).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "SavedCounting | None":
        """Read `counted.npz` and `counted.json`; None if the artifact has none. Raises Damaged."""
        if not (folder / _WEIGHTS).is_file():
            return None
        try:
            saved = json.loads((folder / _WEIGHTS).read_text(encoding="utf-8"))
            with np.load(folder / _RATES, allow_pickle=False) as rates:
                tables = {
                    name: Tables(
                        *(rates[f"{name}_{kind}"] for kind in _ARRAYS),
                        *(_weights(saved["weights"][name][kind]) for kind in ("history", "both")),
                    )
                    for name in HORIZONS
                    if name in saved["weights"]
                }
            mixed = {
                name: Mixed(*(_weights(each["mixed"][kind]) for kind in ("new", "recurring")))
                for name, each in saved["weights"].items()
                if "mixed" in each
            }
            return cls(tables, mixed, int(saved["gap_days"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Damaged(
                f"{folder / _RATES}: not readable. Rebuild it: ehr-pipeline run --select forecasts"
            ) from error


def _weights(values: Mapping[str, Any]) -> Weights:
    return Weights(float(values["constant"]), tuple(map(float, values["weights"])))


def empty() -> Forecasts:
    """Return the tables of a study in which no forecast was evaluated."""
    return Forecasts(*((),) * len(TABLES))
