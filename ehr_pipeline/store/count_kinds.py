"""Find out of which kind each count of an asset is (patients, events, …), and show counts accordingly. The package of the asset's
stage declares the kinds (`COUNTED`)."""

import importlib
from collections.abc import Mapping
from typing import Any

from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.disclosure.kinds import Declared, figures
from ehr_pipeline.tables.asset_names import room_of


def declared(asset: str) -> Declared:
    """The kind of each count of an asset."""
    kinds: Declared = importlib.import_module(f"ehr_pipeline.{room_of(asset)}").COUNTED[asset]
    return kinds


def shown(asset: str, counts: Mapping[str, Any], guard: Guard) -> dict[str, Any]:
    """The counts of an artifact, suppressed and rounded so that they may be shown."""
    return dict(guard.nested(figures(counts, declared(asset))))
