"""Look up what each count of an asset counts (patients, events, …), as declared in the package that makes it (`COUNTED`), and show
it accordingly."""

import importlib
from collections.abc import Mapping
from typing import Any

from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.disclosure.kinds import Declared, figures
from ehr_pipeline.tables.asset_names import room_of


def declared(asset: str) -> Declared:
    """Return the kind of each count of an asset."""
    kinds: Declared = importlib.import_module(f"ehr_pipeline.{room_of(asset)}").COUNTED[asset]
    return kinds


def shown_counts(asset: str, counts: Mapping[str, Any], guard: Guard) -> dict[str, Any]:
    """Return the counts of an artifact, suppressed and rounded so that they may be shown."""
    return dict(guard.nested(figures(counts, declared(asset))))
