"""The models that are compared, and the features that each of them uses."""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["baseline", "model", "control"]
"""'baseline' uses no encoder, 'model' uses the trained encoder, 'control' uses an encoder with untrained weights."""


@dataclass(frozen=True)
class Model:
    """One of the models."""

    name: str
    title: str
    """Its name for people to read."""
    kind: Kind
    features: tuple[str, ...]
    """Blocks of features that it learns from (`compare.Case.block`). For a model that needs no labels, the block is its score."""
    learner: Literal["none", "logistic", "boosting", "tuned"]
    """'none': it needs no labels; 'tuned': the encoder itself is fine-tuned (`predictions.tuning`)."""
    free: bool = False
    """Whether the first block, the encoder's own log-odds, is hardly shrunk, so with few labels the model is close to it."""

    @property
    def is_probability(self) -> bool:
        """Whether its output is a probability before recalibration. The score of a model without labels is not."""
        return self.learner != "none"


MODELS = (
    Model("prevalence", "Prevalence", "baseline", (), "logistic"),
    Model("age_sex", "Age and sex", "baseline", ("age_sex",), "logistic"),
    Model("rule_of_thumb", "Rule of thumb", "baseline", ("age_sex", "amounts"), "boosting"),
    Model("history", "The outcome's own history, no labels", "baseline", ("history",), "none"),
    Model("history_fitted", "The outcome's own history", "baseline", ("history",), "logistic"),
    Model("counts", "Counts, logistic regression", "baseline", ("age_sex", "counts"), "logistic"),
    Model("counts_boosting", "Counts, boosting", "baseline", ("age_sex", "counts"), "boosting"),
    Model(
        "recency", "Counts and recency, logistic regression", "baseline", ("age_sex", "counts", "recency"), "logistic"
    ),
    Model("recency_boosting", "Counts and recency, boosting", "baseline", ("age_sex", "counts", "recency"), "boosting"),
    Model("masked", "Masked-token probability, no labels", "model", ("masked",), "none"),
    Model("vectors", "Vectors, logistic regression", "model", ("vectors",), "logistic"),
    Model("vectors_masked", "Masked-token probability and vectors", "model", ("masked", "vectors"), "logistic", True),
    Model(
        "masked_recency",
        "Masked-token probability, counts and recency",
        "model",
        ("masked", "age_sex", "counts", "recency"),
        "logistic",
        True,
    ),
    Model("tuned_classifier", "Fine-tuned, classifier beside the vectors", "model", ("vectors",), "tuned"),
    Model("tuned_sum", "Fine-tuned, outcome’s tokens from the mean state", "model", ("masked",), "tuned"),
    Model("tuned_mask", "Fine-tuned, outcome’s tokens at the mask", "model", ("masked",), "tuned"),
    Model("masked_untrained", "Masked-token probability, untrained weights", "control", ("masked_untrained",), "none"),
    Model("vectors_untrained", "Vectors of untrained weights", "control", ("vectors_untrained",), "logistic"),
)
BOOSTED_FROM = 100
"""Fewest labels for gradient boosting: with fewer, each tree is a single leaf that holds all patients."""
BY_NAME = {model.name: model for model in MODELS}
HEADS = ("classifier", "sum", "mask")
"""The heads with which the encoder is fine-tuned; each gives the model tuned_<head>."""
RULES_OF_THUMB, MASKED = ("age_sex", "rule_of_thumb"), "masked"
