"""JSON files of artifacts: all are written in the same form, and reading a damaged one raises an error that names it."""

import json
from pathlib import Path
from typing import Any

from ehr_pipeline.errors import Damaged


def read(path: Path) -> Any:
    """Return the content of a file. Raises Damaged if it is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise Damaged(f"{path} cannot be read. Rebuild its artifact (ehr-pipeline run).") from error


def write(path: Path, value: Any) -> None:
    """Write a file for people and programs: indented by one blank, with a line end."""
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
