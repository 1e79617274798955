"""Metrics of the training, for later stages."""

import json
from pathlib import Path
from typing import Any

FILE = "metrics.json"


def read(folder: Path) -> dict[str, Any]:
    """Read the metrics of an `encoder_checkpoint` artifact from its folder: `best`, `baseline`, `epochs`, and training data."""
    found: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return found
