"""The base class of objectives that predict concepts: losses and hits by true concept, compared with frequency alone.

Axes: V vocabulary, P predictions.
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.encoder.objectives.base import Objective, Part, percent
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.terminology.semantic_types import TYPE_NAMES
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

TOP = 10
FEWEST = 100  # least number of predictions of a semantic type for which scores are given


class PredictsConcepts(Objective):
    """Predicts concepts. The sums (4, V) are by true token: losses, hits as the first guess, hits in the top ten, number of
    predictions.

    The last array of a part holds the true tokens (P,).
    """

    detail = "by_semantic_type"
    pipeline_tag = "fill-mask"

    def __init__(self, settings: EncoderSettings, vocabulary: Vocabulary):
        super().__init__()
        self.settings, self.vocabulary = settings, vocabulary

    @property
    @abstractmethod
    def question(self) -> str:
        """A sentence on the predictions that an evaluation makes, for the model card, with {count} for their number."""

    def add(self, sums: Tensor, targets_P: Tensor, losses_P: Tensor, best_PK: Tensor) -> None:
        """Add predictions to `sums`: cross-entropies in nats, and whether the true token is among the K best guesses, given best
        first."""
        hit = best_PK == targets_P[:, None]
        figures = torch.stack([losses_P, hit[:, 0].float(), hit.any(1).float(), torch.ones_like(losses_P)])
        sums.index_add_(1, targets_P, figures.double())

    def no_sums(self) -> NDArray[np.float64]:
        """Return zeros (4, V)."""
        return np.zeros((4, self.vocabulary.size))

    def baseline(self, parts: Iterable[Part], training_counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sums for predictions by concept frequency among the training patients (add-one smoothing)."""
        size = len(training_counts)
        smoothed = training_counts + 1.0
        smoothed[:FIRST_CONCEPT] = 1e-9
        targets = np.zeros(size, np.int64)
        for part in parts:
            targets += np.bincount(part.arrays[-1], minlength=size)
        ranking = np.argsort(-smoothed, kind="stable")
        first, ten = np.zeros(size), np.zeros(size)
        first[ranking[0]], ten[ranking[:TOP]] = 1, 1
        return np.stack([-np.log(smoothed / smoothed.sum()) * targets, first * targets, ten * targets, targets])

    def scores(self, sums: NDArray[np.float64], tokens: Sequence[int] | slice = slice(None)) -> dict[str, float]:
        """Return, for all or some token ids: mean cross-entropy in nats, shares found first and in the top ten, number of
        predictions."""
        loss, first, ten, count = sums[:, tokens].sum(1)
        divisor = max(count, 1.0)
        rates = {"loss": float(loss / divisor), "top1": float(first / divisor), "top10": float(ten / divisor)}
        return rates | {"masked_tokens": int(count)}

    def details(self, sums: NDArray[np.float64], baseline: NDArray[np.float64]) -> list[dict[str, Any]]:
        """Return scores for each semantic type that has FEWEST or more masked tokens, the most frequent type first. A concept
        counts in each of its types."""
        tokens: dict[str, list[int]] = {}
        for concept in self.vocabulary.concepts:
            for tui in concept.semantic_types:
                tokens.setdefault(tui, []).append(concept.token_id)
        rows = []
        for tui, ids in tokens.items():
            model, frequency = self.scores(sums, ids), self.scores(baseline, ids)
            if model["masked_tokens"] >= FEWEST:
                beside = {"baseline_loss": frequency["loss"], "baseline_top10": frequency["top10"]}
                rows.append({"type": tui, "name": TYPE_NAMES.get(tui, tui), **model, **beside})
        return sorted(rows, key=lambda row: (-row["masked_tokens"], row["type"]))

    def headline(self, scores: Mapping[str, float]) -> str:
        """Return the share found in the first ten guesses, for the log."""
        return f"top-10 {scores['top10']:.3f}"

    def column(self, scores: Mapping[str, float]) -> tuple[str, str]:
        """Return the share found in the first ten guesses, for the model card."""
        return "Among the first ten", _rate(scores, "top10")

    def results(self, metrics: Mapping[str, Any]) -> str:
        """Return the results of the model and of the baseline, in total and by semantic type."""
        best = {name.removeprefix("validation_"): value for name, value in metrics["best"].items()}
        rows = {f"this model (epoch {best['epoch']})": best, "frequency baseline": metrics["baseline"]}
        shown = [f"| {name} | {s['loss']:.4f} | {_rate(s, 'top1')} | {_rate(s, 'top10')} |" for name, s in rows.items()]
        table = "\n".join(shown)
        return f"""{self.question.format(count=count_text(best["masked_tokens"]))} Loss: mean cross-entropy in nats, less is better.
Found: the hidden concept was the model's first guess, or among its first ten. The baseline predicts by frequency among the training
patients alone.

| | Loss | Found first | Among the first ten |
|---|---|---|---|
{table}

By semantic type, where at least {FEWEST} tokens were hidden (a concept counts in each of its types):

{_types(metrics[self.detail])}"""


def _rate(scores: Mapping[str, float], rate: str) -> str:
    """Format a share of hidden tokens for release."""
    return percent(scores[rate], int(scores["masked_tokens"]))


def _types(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "None: the validation set is too small."
    shown = [
        f"| {row['name']} ({row['type']}) | {count_text(row['masked_tokens'])} | {row['loss']:.3f} | {row['baseline_loss']:.3f}"
        f" | {_rate(row, 'top10')} | {_rate(row, 'baseline_top10')} |"
        for row in rows
    ]
    head = "| Type | Hidden tokens | Loss | Baseline | Among the first ten | Baseline |\n|---|---|---|---|---|---|"
    return "\n".join([head, *shown])
