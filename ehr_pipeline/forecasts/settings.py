"""Settings of the forecasts."""

from ehr_pipeline.typed_settings import option, settings


@settings
class ForecastsSettings:
    """How the encoder's forecasts of the next concepts are evaluated. Without a test set, no forecasts are made."""

    patients: int = option(
        "Largest number of validation patients, and of test patients, whose future is forecast; drawn by a keyed"
        " hash. 0: no forecasts.",
        5_000,
        ge=0,
    )
    counted_patients: int = option(
        "Largest number of training patients used to count popularity and to set the weight of a patient's own history.",
        20_000,
        ge=100,
    )
    min_visits: int = option("Minimum number of visits in a history.", 5, ge=1)
    tokens_before: int = option(
        "Number of tokens before the mask: the last ones of the history. 0: as many as fit into the encoder's context.",
        0,
        ge=0,
    )
    bootstrap: int = option("Number of bootstrap samples of patients for intervals.", 1_000, ge=100)
