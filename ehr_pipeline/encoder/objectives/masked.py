"""Masked concepts: 15 % of tokens are predicted; 80 % of these are masked, 10 % replaced, 10 % kept (Devlin 2019, section 3.1).

The baseline predicts by frequency alone. Axes: R rows, T token slots of a row, M chosen tokens, D hidden size, V vocabulary.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ehr_pipeline.disclosure.figures import FEWEST as FEWEST_PATIENTS
from ehr_pipeline.disclosure.figures import Guard, told
from ehr_pipeline.disclosure.kinds import Events, Share
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.objectives.base import Draws, Objective, Part
from ehr_pipeline.encoder.packing import Batch
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.encoder.softmax import cross_entropy
from ehr_pipeline.terminology.semantic_types import TYPE_NAMES
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, MASK, Vocabulary

MASKED, REPLACED = 0.8, 0.1
TOP = 10
FEWEST = 100  # least number of masked tokens of a semantic type for which scores are given


class Masked(Objective):
    """Predicts concepts in masked places. Sums (4, V) by true token: losses, found first, in the top ten, predictions."""

    detail: ClassVar[str] = "by_semantic_type"
    pipeline_tag: ClassVar[str] = "fill-mask"
    tag: ClassVar[str] = "masked-language-modeling"
    task: ClassVar[str] = "masked language modelling"
    answers: ClassVar[str] = "the likeliest concepts in a masked place"

    def __init__(self, settings: EncoderSettings, vocabulary: Vocabulary):
        super().__init__()
        self._share, self._vocabulary = settings.mask_share, vocabulary

    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> Draws:
        """Draw which places are chosen, what happens in each, and a token id that may replace the true one."""
        return (
            rng.random(shape, np.float32) < np.float32(self._share),
            rng.random(shape, np.float32),
            rng.integers(FIRST_CONCEPT, self._vocabulary.size, shape, np.int32),
        )

    def prepare(self, batch: Batch, draws: Draws) -> Part:
        """Hide tokens. Special tokens and padding are never chosen; the batch is not changed.

        The part holds inputs, positions and segments (R, T), the chosen places (M,) as indices into the flattened R × T, and the
        true tokens in these places (M,).
        """
        drawn_RT, fate_RT, other_RT = draws
        tokens_RT = batch.tokens_RT
        chosen_RT = drawn_RT & (tokens_RT >= FIRST_CONCEPT)
        inputs_RT = tokens_RT.copy()
        inputs_RT[chosen_RT & (fate_RT < MASKED)] = MASK
        replaced = chosen_RT & (fate_RT >= MASKED) & (fate_RT < MASKED + REPLACED)
        inputs_RT[replaced] = other_RT[replaced]
        targets_M = tokens_RT[chosen_RT]
        arrays = (inputs_RT, batch.positions_RT, batch.segments_RT, np.flatnonzero(chosen_RT), targets_M)
        return Part(arrays, len(targets_M))

    def forward(self, encoder: PackedEncoder, *arrays: Tensor) -> Tensor:
        """Return the sum of the cross-entropy over the chosen places."""
        *rows, targets_M = arrays
        stock = encoder.stock
        return cross_entropy(stock.features(encoder.layers(*rows)), stock.token_vectors, stock.output_bias, targets_M)

    def no_sums(self) -> NDArray[np.float64]:
        """Return zeros (4, V)."""
        return np.zeros((4, self._vocabulary.size))

    def score(self, encoder: PackedEncoder, sums: Tensor, *arrays: Tensor) -> None:
        """Add cross-entropies in nats, and the numbers of true tokens that are found."""
        *rows, targets_M = arrays
        logits_MV = encoder.logits(encoder.hidden(*rows)).float()
        loss = F.cross_entropy(logits_MV, targets_M, reduction="none")
        best = logits_MV.topk(min(TOP, logits_MV.shape[1]), dim=1).indices == targets_M[:, None]
        figures = torch.stack([loss, best[:, 0].float(), best.any(1).float(), torch.ones_like(loss)])
        sums.index_add_(1, targets_M, figures.double())

    def baseline(self, parts: Iterable[Part], training_counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sums for predictions by concept frequency among the training patients (add-one smoothing)."""
        size = len(training_counts)
        smoothed = training_counts + 1.0
        smoothed[:FIRST_CONCEPT] = 1e-9
        asked = np.zeros(size, np.int64)
        for part in parts:
            asked += np.bincount(part.arrays[-1], minlength=size)
        ranking = np.argsort(-smoothed, kind="stable")
        first, ten = np.zeros(size), np.zeros(size)
        first[ranking[0]], ten[ranking[:TOP]] = 1, 1
        return np.stack([-np.log(smoothed / smoothed.sum()) * asked, first * asked, ten * asked, asked])

    def scores(self, sums: NDArray[np.float64], tokens: Sequence[int] | slice = slice(None)) -> dict[str, float]:
        """Return, for all or some ids: mean cross-entropy in nats, shares found first and in the top ten, and count."""
        loss, first, ten, count = sums[:, tokens].sum(1)
        divisor = max(count, 1.0)
        rates = {"loss": float(loss / divisor), "top1": float(first / divisor), "top10": float(ten / divisor)}
        return rates | {"masked_tokens": int(count)}

    def details(self, sums: NDArray[np.float64], baseline: NDArray[np.float64]) -> list[dict[str, Any]]:
        """Return scores by semantic type with FEWEST or more masked tokens, most first; a concept counts in all its types."""
        tokens: dict[str, list[int]] = {}
        for concept in self._vocabulary.concepts:
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
        """Return the same, for the model card."""
        return "Among the first ten", _rate(scores, "top10")

    def example(self, age_unit: str) -> str:
        """Return an example that fills a mask."""
        return f"""```python
import csv

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

model = AutoModelForMaskedLM.from_pretrained(".").eval()
tokenizer = AutoTokenizer.from_pretrained(".")
tokens = tokenizer("{self._vocabulary.concepts[0].concept} [MASK]", return_tensors="pt")["input_ids"]
ages = torch.tensor([[40, 41]])  # {age_unit}s
scores = model(tokens, position_ids=ages + 1).logits[0, 1]
best = tokenizer.convert_ids_to_tokens(scores.topk(5).indices.tolist())
with open("vocabulary.csv", encoding="utf-8", newline="") as stream:
    names = {{row["concept"]: row["name"] for row in csv.DictReader(stream)}}
print([names.get(token, token) for token in best])
```"""

    def results(self, metrics: Mapping[str, Any]) -> str:
        """Return the results of the model and of the baseline, in total and by semantic type."""
        best = {name.removeprefix("validation_"): value for name, value in metrics["best"].items()}
        rows = {f"this model (epoch {best['epoch']})": best, "frequency baseline": metrics["baseline"]}
        shown = [f"| {name} | {s['loss']:.4f} | {_rate(s, 'top1')} | {_rate(s, 'top10')} |" for name, s in rows.items()]
        table = "\n".join(shown)
        return f"""Every evaluation hides the same
{told(best["masked_tokens"])} tokens ({self._share:.0%}). Loss: mean cross-entropy in nats, less is better.
Found: the hidden concept was the model's first guess, or among its first ten. The baseline predicts by frequency among the training
patients alone.

| | Loss | Found first | Among the first ten |
|---|---|---|---|
{table}

By semantic type, where at least {FEWEST} tokens were hidden (a concept counts in each of its types):

{_types(metrics[self.detail])}"""


def _rate(scores: Mapping[str, float], rate: str) -> str:
    """Format a share of hidden tokens for release: all digits would reveal the number of tokens, and so of patients."""
    return Guard(FEWEST_PATIENTS).percent(Share.of(scores[rate], Events(int(scores["masked_tokens"]))))


def _types(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "None: the validation side is too small."
    shown = [
        f"| {row['name']} ({row['type']}) | {told(row['masked_tokens'])} | {row['loss']:.3f} | {row['baseline_loss']:.3f}"
        f" | {_rate(row, 'top10')} | {_rate(row, 'baseline_top10')} |"
        for row in rows
    ]
    head = "| Type | Hidden tokens | Loss | Baseline | Among the first ten | Baseline |\n|---|---|---|---|---|---|"
    return "\n".join([head, *shown])
