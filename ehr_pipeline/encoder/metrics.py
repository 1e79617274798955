"""Metrics of the training, for later stages."""

import json
from pathlib import Path
from typing import Any

FILE = "metrics.json"


def read(folder: Path) -> dict[str, Any]:
    """Read the metrics in the folder of an `encoder_checkpoint` artifact: `best`, `baseline`, `epochs`, training data."""
    found: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return found
