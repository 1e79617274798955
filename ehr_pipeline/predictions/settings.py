"""Settings of the predictions: which models are compared, with how many labels, on how many patients."""

from collections.abc import Iterator
from typing import Literal

from ehr_pipeline.predictions.models import BY_NAME, MODELS
from ehr_pipeline.typed_settings import option, settings

FITTED = tuple(model.name for model in MODELS if model.learner != "tuned")
"""The models that do not change the encoder."""


def replicates(labels: int) -> int:
    """Return how often a model is fitted with this number of labels, each time on another sample."""
    return 5 if labels <= 100 else 3


@settings
class FineTuning:
    """How the encoder is fine-tuned for each task, with the labels of its samples."""

    heads: tuple[Literal["classifier", "sum", "mask"], ...] = option(
        "Heads with which the encoder is fine-tuned; each is a further model for every task. Empty: no fine-tuning, because it"
        " takes far longer than all other models: for each task, head and sample of labels, one training run and a pass over"
        " the whole test set. 'classifier': a linear layer on the state at the mask together with the vector of the history; it"
        " starts from the logistic regression. 'sum': the probability of the outcome's concepts, predicted from the mean state"
        " of the history. 'mask': the same, predicted from the state at the mask. 'sum' and 'mask' start from the encoder's own"
        " log-odds (He, Rasmy, Zhi & Tao 2025).",
        (),
    )
    frozen_layers: int = option(
        "Number of lower layers of the encoder that, together with the embeddings, are not trained; 0: everything is trained.",
        0,
        ge=0,
    )
    epochs: int = option(
        "Largest number of passes over the labels; 0: a model keeps its initial weights. With at least 100 cases and 100"
        " others, the best number of passes is chosen on a fifth of the patients.",
        4,
        ge=0,
    )
    learning_rate: float = option(
        "Peak learning rate, reached by a linear rise over a tenth of the updates and followed by a linear fall.",
        1e-4,
        gt=0,
    )
    batch: int = option("Number of histories in an update.", 16, ge=1)
    keep_weights: bool = option(
        "Whether to keep the weights of the fine-tuned models that verdicts are about, each trained on all labels, so that"
        " `ehr-pipeline predict` can apply them. Each takes up to as much disk space as the encoder's checkpoint.",
        True,
    )


@settings
class PredictionsSettings:
    """How the models of the tasks are compared. Without [tasks], nothing is compared."""

    models: tuple[str, ...] = option(f"Models that are compared: {', '.join(FITTED)}. Empty: all of them.", ())
    labels: tuple[int, ...] = option(
        "Numbers of labels with which models are fitted, in addition to all labels. Samples are nested, and half of each sample"
        " are cases if there are enough. Models that need no labels are always included.",
        (10, 20, 50, 100, 200, 500),
    )
    patients: int = option(
        "Largest number of a task's patients in each set (training, validation, test). For fitting, cases are taken first.",
        20_000,
        ge=100,
    )
    concepts: int = option("Number of concepts that are counted: the most frequent ones.", 2_000, ge=1)
    boosted_concepts: int = option(
        "Number of concepts for boosting, which needs dense tables: the most frequent ones.", 200, ge=1
    )
    tokens_before: int = option(
        "Number of tokens before the mask: the last ones of the history. 0: as many as fit into the encoder's context.",
        0,
        ge=0,
    )
    fine_tuning: FineTuning = option("How the encoder is fine-tuned for each task.", FineTuning(), later=True)
    bootstrap: int = option("Number of bootstrap samples of patients for intervals.", 1_000, ge=100)
    batch_tokens: int = option("Token slots computed at once.", 16_384, role="tuning", ge=256)

    def problems(self) -> Iterator[str]:
        """Yield problems with these values, other than wrong types."""
        for name in self.models:
            if name not in BY_NAME:
                yield f"models: {name!r} is not a model. Valid names: {', '.join(FITTED)}."
            elif name not in FITTED:
                yield f"models: {name!r} is fine-tuned: name its head under predictions.fine_tuning.heads instead."
        if any(number < 4 for number in self.labels):
            yield "labels: with fewer than 4 there is nothing to fit."

    @property
    def chosen(self) -> tuple[str, ...]:
        """The names of the models that are compared."""
        return (*(self.models or FITTED), *(f"tuned_{head}" for head in dict.fromkeys(self.fine_tuning.heads)))
