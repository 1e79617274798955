"""Settings of the predictions: which models are compared, with how many labels, on how many patients."""

from collections.abc import Iterator

from ehr_pipeline.fields import option, settings
from ehr_pipeline.predictions.models import BY_NAME


@settings
class PredictionsSettings:
    """How the models of the tasks are compared. Without [tasks], nothing is."""

    models: tuple[str, ...] = option(
        f"Models that are compared: {', '.join(BY_NAME)}. Empty: all of them.",
        (),
    )
    labels: tuple[int, ...] = option(
        "Numbers of labels that models are fitted with, beside all of them. Samples are nested; half of each are cases, as far as"
        " there are enough. Models that need no labels are always there.",
        (10, 20, 50, 100, 200, 500),
    )
    patients: int = option(
        "Most patients of a task that models are fitted on, and most that each of the other sides has. Of those to fit on, cases"
        " are taken first.",
        20_000,
        ge=100,
    )
    concepts: int = option("Most concepts that are counted, the most frequent ones.", 2_000, ge=1)
    boosted_concepts: int = option("Most concepts that boosting is given, which needs dense tables.", 200, ge=1)
    tokens_before: int = option(
        "Most tokens of a history that stand before the mask, the last ones; 0: as many as the encoder's context holds.",
        0,
        ge=0,
    )
    bootstrap: int = option("Draws of patients for intervals.", 1_000, ge=100)
    batch_tokens: int = option("Token slots computed at once.", 16_384, role="tuning", ge=256)

    def problems(self) -> Iterator[str]:
        """Yield what is wrong with these values beyond their types."""
        for name in self.models:
            if name not in BY_NAME:
                yield f"models: {name!r} is none. Valid names: {', '.join(BY_NAME)}."
        if any(number < 4 for number in self.labels):
            yield "labels: with fewer than 4 there is nothing to fit."

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the models that are compared."""
        return self.models or tuple(BY_NAME)
