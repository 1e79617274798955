"""Look up the unit of each count of an asset (patients, events, …), declared in its package (`COUNTED`), to show it correctly."""

import importlib
from collections.abc import Mapping
from typing import Any

from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.disclosure.kinds import Declared, figures
from ehr_pipeline.tables.asset_names import package_of


def declared(asset: str) -> Declared:
    """Return the kind of each count of an asset."""
    kinds: Declared = importlib.import_module(f"ehr_pipeline.{package_of(asset)}").COUNTED[asset]
    return kinds


def shown_counts(asset: str, counts: Mapping[str, Any], guard: Guard) -> dict[str, Any]:
    """Return the counts of an artifact as they may be shown: suppressed and rounded."""
    return dict(guard.nested(figures(counts, declared(asset))))
