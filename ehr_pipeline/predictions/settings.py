"""Settings of the predictions: which models are compared, with how many labels, on how many patients."""

from collections.abc import Iterator
from typing import Literal

from ehr_pipeline.predictions.models import BY_NAME, MODELS
from ehr_pipeline.typed_settings import option, settings

FITTED = tuple(model.name for model in MODELS if model.learner != "tuned")
"""The models that do not change the encoder."""


@settings
class FineTuning:
    """How the encoder is fine-tuned for each task, with the labels of its samples."""

    heads: tuple[Literal["classifier", "sum", "mask"], ...] = option(
        "Heads with which the encoder is fine-tuned, each a further model of every task. Empty: it is not, since this takes far"
        " longer than all other models: a training for each task, head and sample of labels, and the whole test side each time."
        " 'classifier': a linear layer on the state at the mask, beside the vector of the history; it begins at the logistic"
        " regression. 'sum': the probability of the outcome's concepts from the mean state of the history; 'mask': the same at the"
        " mask. These two begin at the encoder's own log-odds (He, Rasmy, Zhi & Tao 2025).",
        (),
    )
    frozen_layers: int = option(
        "Lower layers of the encoder that stay as they are, with the embeddings; 0: everything is trained.", 0, ge=0
    )
    epochs: int = option(
        "Most passes over the labels; 0: none, so that a model stays at its beginning. With at least 100 cases and 100 others, the"
        " best number is found on a fifth of their patients.",
        4,
        ge=0,
    )
    learning_rate: float = option(
        "Peak of the learning rate: a linear rise over a tenth of the updates, then a linear fall.", 1e-4, gt=0
    )
    batch: int = option("Histories of an update.", 16, ge=1)


@settings
class PredictionsSettings:
    """How the models of the tasks are compared. Without [tasks], nothing is compared."""

    models: tuple[str, ...] = option(
        f"Models that are compared: {', '.join(FITTED)}. Empty: all of them.",
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
    fine_tuning: FineTuning = option("How the encoder is fine-tuned for each task.", FineTuning(), later=True)
    bootstrap: int = option("Draws of patients for intervals.", 1_000, ge=100)
    batch_tokens: int = option("Token slots computed at once.", 16_384, role="tuning", ge=256)

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        for name in self.models:
            if name not in BY_NAME:
                yield f"models: {name!r} is none. Valid names: {', '.join(FITTED)}."
            elif name not in FITTED:
                yield f"models: {name!r} is fine-tuned: name its head under predictions.fine_tuning.heads instead."
        if any(number < 4 for number in self.labels):
            yield "labels: with fewer than 4 there is nothing to fit."

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the models that are compared."""
        return (*(self.models or FITTED), *(f"tuned_{head}" for head in dict.fromkeys(self.fine_tuning.heads)))
