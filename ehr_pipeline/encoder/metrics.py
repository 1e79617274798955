"""How the training went, as later stages read it."""

import json
from pathlib import Path
from typing import Any

FILE = "metrics.json"


def read(folder: Path) -> dict[str, Any]:
    """The figures of the folder of an `encoder_checkpoint` artifact: `best`, `baseline`, `epochs`, and what was trained on."""
    found: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return found
