"""Settings of the trajectories."""

from typing import Literal

from ehr_pipeline.typed_settings import option, settings


@settings
class TrajectoriesSettings:
    """How a patient's record is divided into windows of time, to see how patients change."""

    windows: Literal["record", "age", "calendar", "off"] = option(
        "Where the first window begins: at the first visit of the 'record', at birth ('age'), or at the start of 1900"
        " ('calendar'). 'off': no trajectories are computed.",
        "record",
    )
    years: float = option("Length of a window in years.", 5.0, gt=0)
    min_concepts: int = option(
        "Minimum number of pooled concepts in a window. Windows with fewer are dropped and counted.", 10, ge=1
    )
    patients: int = option(
        "Largest number of patients; if more are clustered, a random sample of this size is used.", 20_000, ge=1
    )
