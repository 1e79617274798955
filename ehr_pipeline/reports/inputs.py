"""Everything that the page is made from."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ehr_pipeline.disclosure.figures import Naming
from ehr_pipeline.store.artifacts import Artifact
from ehr_pipeline.tables.asset_names import CLUSTERS, DATA_SPLIT


@dataclass(frozen=True)
class Inputs:
    """Everything that the page is made from."""

    study: str
    records: list[Artifact]
    artifacts: dict[str, Artifact]
    """Current artifacts by asset."""
    settings: dict[str, Any]
    """All settings, as plain values."""
    seed: int
    terms: dict[str, str]
    """Licence, protocol and expiry of the data, those that are known."""

    @property
    def shifted_dates(self) -> bool:
        """Whether each patient's dates are shifted, so that the calendar means nothing."""
        return bool(self.settings.get(CLUSTERS, {}).get("shifted_dates"))

    def naming(self, below: int) -> Naming:
        """Return the rule for showing names that come from the data, with the threshold `below`."""
        return Naming(below, self.settings[DATA_SPLIT]["key"])


def embedded(path: Path) -> str:
    """Return a picture as a data URL, so that the page needs no other file."""
    kind = "svg+xml" if path.suffix == ".svg" else "png"
    return f"data:image/{kind};base64," + base64.b64encode(path.read_bytes()).decode("ascii")
