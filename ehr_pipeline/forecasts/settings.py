"""Settings of the forecasts."""

from ehr_pipeline.typed_settings import option, settings


@settings
class ForecastsSettings:
    """How the encoder's forecasts of the next concepts are evaluated. Without a test side, there are no forecasts."""

    patients: int = option(
        "Most patients of the validation side, and of the test side, whose future is forecast; drawn by a keyed hash. 0: none is.",
        5_000,
        ge=0,
    )
    counted_patients: int = option(
        "Most patients of the training side on whom popularity and the weight of a patient's own history are counted.",
        20_000,
        ge=100,
    )
    min_visits: int = option("Visits that a history must have at least.", 5, ge=1)
    tokens_before: int = option(
        "Most tokens of a history that stand before the mask, the last ones; 0: as many as the encoder's context holds.",
        0,
        ge=0,
    )
    bootstrap: int = option("Draws of patients for intervals.", 1_000, ge=100)
