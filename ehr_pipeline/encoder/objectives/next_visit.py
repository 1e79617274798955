"""Predict the next visit: the concepts of a visit are predicted from earlier visits and the patient's age at the visit.

A [MASK] is inserted before a visit, with the age at the visit, and predicts each of the visit's concepts. Masks and tokens attend
only backwards (`encoder.causal_model`). So one pass over a record predicts many of its visits, and no prediction sees later visits.
A trained encoder is queried about the future in the same way (`predictions.query_at_mask`; He, Rasmy, Zhi & Tao 2025, "Mask").
Foresight (Kraljevic et al. 2024), by contrast, is trained on each next concept.

Axes: R rows, T token slots of a row, K slots for masks, W visits, M masks, P predictions (concepts of predicted visits), V
vocabulary.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.objectives.base import Draws, Part, filled
from ehr_pipeline.encoder.objectives.concepts import TOP, PredictsConcepts
from ehr_pipeline.encoder.packing import Batch, counted
from ehr_pipeline.encoder.softmax import NO_TARGET
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, MASK

Ints = NDArray[np.int64]
SLOTS_A_MASK = 4
"""A row of T slots has room for T / 4 masks, which fixes the shapes. If a row has more visits, some are drawn at random."""


class NextVisit(PredictsConcepts):
    """Predicts the concepts of each visit from the records before it."""

    tag = "next-visit-prediction"
    task = "prediction of the next visit"
    answers = "the likeliest concepts of the next visit at an age"

    @property
    def question(self) -> str:
        """A sentence on the concepts that are predicted (see `PredictsConcepts`)."""
        return "Every evaluation asks for the same\n{count} concepts, each from the visits before its own."

    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> Draws:
        """Draw a number for each token. If a row has more visits than masks, the visits with the smallest numbers at their
        first token are predicted."""
        return (rng.random(shape, np.float32),)

    def prepare(self, batch: Batch, draws: Draws) -> Part:
        """Append masks to the rows (R, T + K). Masks without a visit are padding.

        The part holds inputs, positions and segments, the order of tokens (`model.visibility`), the places of the masks (M,) as
        indices into the flattened R × (T + K), and for each prediction its mask (P,) and its true token (P,).
        """
        rows, slots = batch.tokens_RT.shape
        room = max(slots // SLOTS_A_MASK, 1)
        begins_W, visit_RT = batch.visits()
        row_W = begins_W // slots
        chosen_M = _fewest(row_W, draws[0].reshape(-1)[begins_W], room)
        row_M = row_W[chosen_M]
        places_M = row_M * (slots + room) + slots + counted(row_M)

        def with_masks(values_RT: Ints, values_M: Ints | int) -> Ints:
            wide = np.zeros((rows, slots + room), np.int64)
            wide[:, :slots] = values_RT
            wide.reshape(-1)[places_M] = values_M
            return wide

        def at(values_RT: Ints) -> Ints:
            return values_RT.reshape(-1)[begins_W[chosen_M]]

        mask_W = np.full(len(begins_W) + 1, -1)  # the last one is that of padding, visit -1
        mask_W[chosen_M] = np.arange(len(chosen_M))
        mask_RT = mask_W[visit_RT]
        asked_RT = (mask_RT >= 0) & (batch.tokens_RT >= FIRST_CONCEPT)
        arrays = (
            with_masks(batch.tokens_RT, MASK),
            with_masks(batch.positions_RT, at(batch.positions_RT)),
            with_masks(batch.segments_RT, at(batch.segments_RT)),
            with_masks(batch.order_RT, at(batch.order_RT) - 1),
            places_M,
            mask_RT[asked_RT],
            batch.tokens_RT[asked_RT],
        )
        return Part(arrays, int(asked_RT.sum()))

    def padded(self, part: Part) -> Part:
        """Fill up masks and predictions to as many as the rows have room for."""
        *rows, places_M, masks_P, targets_P = part.arrays
        height, slots = len(rows[0]), self.settings.context
        masks, predictions = height * (rows[0].shape[1] - slots), height * slots
        filled_up = (filled(places_M, masks), filled(masks_P, predictions), filled(targets_P, predictions, NO_TARGET))
        return replace(part, arrays=(*rows, *filled_up))

    def forward(self, encoder: PackedEncoder, *arrays: Tensor) -> Tensor:
        """Return the sum of the cross-entropy over the predictions."""
        logits_MV, masks_P, targets_P = self._logits(encoder, encoder.layers, arrays)
        losses_P = logits_MV.logsumexp(1)[masks_P] - logits_MV[masks_P, targets_P]
        return (losses_P * (targets_P != NO_TARGET)).sum()

    def score(self, encoder: PackedEncoder, sums: Tensor, *arrays: Tensor) -> None:
        """Add to `sums` the cross-entropies in nats, and the numbers of true tokens that are found."""
        logits_MV, masks_P, targets_P = self._logits(encoder, encoder.hidden, arrays)
        losses_P = logits_MV.logsumexp(1)[masks_P] - logits_MV[masks_P, targets_P]
        best_MK = logits_MV.topk(min(TOP, logits_MV.shape[1]), dim=1).indices
        self.add(sums, targets_P, losses_P, best_MK[masks_P])

    def _logits(self, encoder: PackedEncoder, layers: Any, arrays: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        tokens, positions, segments, order, places, masks_P, targets_P = arrays
        return encoder.logits(layers(tokens, positions, segments, places, order)).float(), masks_P, targets_P

    def example(self, age_unit: str) -> str:
        """Return an example that predicts the next visit."""
        return f"""```python
import csv

from transformers import AutoModelForMaskedLM, AutoTokenizer

import ehr_pipeline.encoder.causal_model  # the model class; the stock class lets tokens see what comes after them

model = AutoModelForMaskedLM.from_pretrained(".").eval()
tokenizer = AutoTokenizer.from_pretrained(".")
tokens = tokenizer("{self.vocabulary.concepts[0].concept} [MASK]", return_tensors="pt")["input_ids"]
ages, visits = torch.tensor([[40, 41]]), torch.tensor([[0, 1]])  # {age_unit}s; [MASK] is a visit of its own
scores = model(tokens, visit_ids=visits, position_ids=ages + 1).logits[0, 1]
best = tokenizer.convert_ids_to_tokens(scores.topk(5).indices.tolist())
with open("vocabulary.csv", encoding="utf-8", newline="") as stream:
    names = {{row["concept"]: row["name"] for row in csv.DictReader(stream)}}
print([names.get(token, token) for token in best])
```"""


def _fewest(row_W: Ints, drawn_W: NDArray[np.float32], room: int) -> Ints:
    """Return, in ascending order, the visits with the smallest numbers in each row, at most `room` per row. Rows ascend."""
    order = np.lexsort((drawn_W, row_W))
    return np.sort(order[counted(row_W) < room])
