"""Read the metrics of a training run, for later stages."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ehr_pipeline.tables import json_files

FILE = "metrics.json"


def read(folder: Path) -> dict[str, Any]:
    """Read the metrics in the folder of an `encoder_checkpoint` artifact: `best`, `baseline`, `epochs`, training data."""
    return dict(json_files.read(folder / FILE))


def of_concepts(metrics: Mapping[str, Any]) -> tuple[float, float]:
    """Return the loss in nats per predicted concept, of the best epoch and of predicting by frequency alone."""
    name = f"{next(iter(metrics['weights']))}_loss" if "weights" in metrics else "loss"
    return metrics["best"][f"validation_{name}"], metrics["baseline"][name]
