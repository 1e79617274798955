"""Settings of the trajectories."""

from typing import Literal

from ehr_pipeline.typed_settings import option, settings


@settings
class TrajectoriesSettings:
    """How a patient's record is divided in time, to see how patients change."""

    windows: Literal["record", "age", "calendar", "off"] = option(
        "From when windows are counted: from the first visit of the 'record', from birth ('age'), or by the 'calendar' (from 1900)."
        " 'off' makes no trajectories.",
        "record",
    )
    years: float = option("Length of a window in years.", 5.0, gt=0)
    min_concepts: int = option(
        "Pooled concepts that a window must hold: windows with fewer are dropped, and counted.", 10, ge=1
    )
    patients: int = option("At most so many patients, drawn at random from the clustered ones.", 20_000, ge=1)
