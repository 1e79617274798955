"""Masked concepts: 15 % of tokens are predicted; 80 % of these are masked, 10 % replaced, 10 % kept (Devlin 2019, section 3.1).

The baseline predicts by frequency alone. Axes: R rows, T token slots of a row, M chosen tokens, D hidden size, V vocabulary.
"""

import math
from dataclasses import replace

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.objectives.base import Draws, Part, filled
from ehr_pipeline.encoder.objectives.concepts import TOP, PredictsConcepts
from ehr_pipeline.encoder.packing import Batch
from ehr_pipeline.encoder.softmax import NO_TARGET, cross_entropy
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, MASK

MASKED, REPLACED = 0.8, 0.1
ROUND = 128  # the number of chosen places is rounded up to a multiple, which suits the units of GPUs


class Masked(PredictsConcepts):
    """Predicts concepts in masked places."""

    tag = "masked-language-modeling"
    task = "masked language modelling"
    answers = "the likeliest concepts in a masked place"

    @property
    def question(self) -> str:
        """A sentence on the share of tokens that is hidden (see `PredictsConcepts`)."""
        return f"Every evaluation hides the same\n{{count}} tokens ({self.settings.mask_share:.0%})."

    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> Draws:
        """Draw which places are chosen, what happens in each, and a token id that may replace the true one."""
        return (
            rng.random(shape, np.float32) < np.float32(self.settings.mask_share),
            rng.random(shape, np.float32),
            rng.integers(FIRST_CONCEPT, self.vocabulary.size, shape, np.int32),
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

    def padded(self, part: Part) -> Part:
        """Pad the chosen places to six standard deviations above their mean number, or to a multiple of that length."""
        *rows, chosen_M, targets_M = part.arrays
        slots, share = rows[0].size, self.settings.mask_share
        most = min(slots, slots * share + 6 * math.sqrt(slots * share * (1 - share)))
        room = -(-math.ceil(most) // ROUND) * ROUND
        return replace(part, arrays=(*rows, filled(chosen_M, room), filled(targets_M, room, NO_TARGET)))

    def forward(self, encoder: PackedEncoder, *arrays: Tensor) -> Tensor:
        """Return the sum of the cross-entropy over the chosen places."""
        *rows, targets_M = arrays
        stock = encoder.stock
        features_MD = stock.features(encoder.layers(*rows))
        return cross_entropy(features_MD, stock.token_vectors, stock.output_bias, targets_M, encoder.shares)

    def score(self, encoder: PackedEncoder, sums: Tensor, *arrays: Tensor) -> None:
        """Add to `sums` the cross-entropies in nats, and the numbers of true tokens that are found."""
        *rows, targets_M = arrays
        logits_MV = encoder.logits(encoder.hidden(*rows)).float()
        loss = F.cross_entropy(logits_MV, targets_M, reduction="none")
        self.add(sums, targets_M, loss, logits_MV.topk(min(TOP, logits_MV.shape[1]), dim=1).indices)

    def example(self, age_unit: str) -> str:
        """Return an example that fills a mask."""
        return f"""```python
import csv

import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

model = AutoModelForMaskedLM.from_pretrained(".").eval()
tokenizer = AutoTokenizer.from_pretrained(".")
tokens = tokenizer("{self.vocabulary.concepts[0].concept} [MASK]", return_tensors="pt")["input_ids"]
ages = torch.tensor([[40, 41]])  # {age_unit}s
scores = model(tokens, position_ids=ages + 1).logits[0, 1]
best = tokenizer.convert_ids_to_tokens(scores.topk(5).indices.tolist())
with open("vocabulary.csv", encoding="utf-8", newline="") as stream:
    names = {{row["concept"]: row["name"] for row in csv.DictReader(stream)}}
print([names.get(token, token) for token in best])
```"""
