"""Predict attributes of the patient from the mean state of a chunk of the record, with a linear head for each attribute.

Taylor, Schofield, Kormilitzin, Joyce & Nevado-Holgado 2024 (arXiv 2403.19802) predict the category of a note in this way, in
addition to masking: vectors then separate the categories that they were trained on, and gain little else. Attributes are read
separately from the records (`patient_attributes`) and never reach the encoder. The heads are parameters of the loss and are not
published. Missing values, and chunks with fewer than FEWEST_TOKENS tokens, are left out of the loss.

Axes: R rows, T token slots of a row, K chunks that a row has room for, A attributes, C values of one, D hidden size.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ehr_pipeline.disclosure.figures import FEWEST, count_text
from ehr_pipeline.encoder.devices import as_written
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.objectives import spans
from ehr_pipeline.encoder.objectives.base import Draws, Loss, Part, percent
from ehr_pipeline.encoder.packing import Batch, counted
from ehr_pipeline.encoder.patient_attributes import UNKNOWN, Traits
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.errors import UserError

FEWEST_TOKENS = 8


class Metadata(Loss):
    """Predicts attributes. Sums (3, A): losses, correct predictions, all predictions."""

    task = "prediction of the patients' attributes"
    tag = "metadata-prediction"

    def __init__(self, settings: EncoderSettings, traits: Traits):
        """Make a head for each attribute. Raises UserError for an attribute that does not have two values with at least FEWEST
        training patients each."""
        super().__init__()
        self.settings, self.traits, self.names = settings, traits, settings.metadata.attributes
        for name in self.names:
            if len(traits.counts[name]) < 2:
                raise UserError(
                    f"encoder.metadata.attributes: {name!r} has fewer than two values shared by at least {FEWEST} training"
                    " patients, so there is nothing to predict. Remove it."
                )
        self.heads = nn.ModuleList(nn.Linear(settings.hidden_size, len(traits.counts[name])) for name in self.names)
        self.room = max(settings.context // FEWEST_TOKENS, 1)

    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> Draws:
        """Draw nothing."""
        return ()

    def prepare(self, batch: Batch, draws: Draws) -> Part:
        """Find the chunks, and the known attributes of their patients.

        The part holds for each token slot (R, T): the token, its position, its segment, its order, and the number of its chunk in
        the row (from 1; 0 for none). It also holds the attributes (R, K, A) of the chunks' patients.
        """
        rows, slots = batch.tokens_RT.shape
        new_RT = batch.segments_RT > 0
        new_RT[:, 1:] &= np.diff(batch.segments_RT, axis=1) != 0
        begins_C = np.flatnonzero(new_RT)
        chunk_RT = np.where(batch.segments_RT > 0, np.cumsum(new_RT).reshape(rows, slots) - 1, len(begins_C))
        kept_C = np.bincount(chunk_RT.reshape(-1), minlength=len(begins_C) + 1)[: len(begins_C)] >= FEWEST_TOKENS
        row = begins_C[kept_C] // slots
        slot = counted(row)
        number_C = np.zeros(len(begins_C) + 1, np.int64)
        number_C[:-1][kept_C] = slot + 1
        patient = batch.patients_RT.reshape(-1)[begins_C[kept_C]]
        values_RKA = np.full((rows, self.room, len(self.names)), UNKNOWN, np.int64)
        for attribute, name in enumerate(self.names):
            values_RKA[row, slot, attribute] = self.traits.of(name, patient)
        arrays = (
            batch.tokens_RT,
            batch.positions_RT,
            batch.segments_RT,
            batch.order_RT,
            number_C[chunk_RT],
            values_RKA,
        )
        return Part(arrays, int((values_RKA != UNKNOWN).sum()))

    def forward(self, encoder: PackedEncoder, *arrays: Tensor) -> Tensor:
        """Return the sum of the cross-entropies."""
        return torch.stack([losses.sum() for _, losses, _ in self._predicted(encoder, encoder.layers, arrays)]).sum()

    def no_sums(self) -> NDArray[np.float64]:
        """Return zeros (3, A)."""
        return np.zeros((3, len(self.names)))

    def score(self, encoder: PackedEncoder, sums: Tensor, *arrays: Tensor) -> None:
        """Add to `sums` the cross-entropies in nats, and the numbers of correct predictions."""
        for attribute, (logits_MC, losses_M, values_M) in enumerate(self._predicted(encoder, encoder.hidden, arrays)):
            known = values_M != UNKNOWN
            right = (logits_MC.argmax(1) == values_M) & known
            sums[:, attribute] += torch.stack([losses_M.double().sum(), right.double().sum(), known.double().sum()])

    def _predicted(
        self, encoder: PackedEncoder, layers: Any, arrays: tuple[Tensor, ...]
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield scores (M, C), losses (M,) and values (M,) for each attribute, of M = R × K chunks."""
        tokens, positions, segments, order, number_RT, values_RKA = arrays
        states_RTD = layers(tokens, positions, segments, None, order)
        mean_MD = spans.means(states_RTD, number_RT, self.room).flatten(0, 1)
        with as_written(mean_MD):
            for attribute, head in enumerate(self.heads):
                logits_MC, values_M = head(mean_MD), values_RKA[:, :, attribute].flatten()
                losses_M = F.cross_entropy(logits_MC, values_M, reduction="none", ignore_index=UNKNOWN)
                yield logits_MC, losses_M, values_M

    def baseline(self, parts: Iterable[Part], training_counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sums for predictions from the shares of the values among training patients; the guess is the most frequent
        value."""
        sums = self.no_sums()
        for part in parts:
            for attribute, name in enumerate(self.names):
                counts = self.traits.counts[name]
                values = part.arrays[-1][:, :, attribute]
                values = values[values != UNKNOWN]
                losses = -np.log(counts / counts.sum())[values]
                sums[:, attribute] += [losses.sum(), (values == counts.argmax()).sum(), len(values)]
        return sums

    def scores(self, sums: NDArray[np.float64]) -> dict[str, float]:
        """Return the mean loss in nats, and for each attribute the share of correct predictions and the number of predictions."""
        losses, right, targets = sums
        values = {"loss": float(losses.sum() / max(targets.sum(), 1.0))}
        for number, name in enumerate(self.names):
            values |= {
                f"right_{name}": float(right[number] / max(targets[number], 1.0)),
                f"asked_{name}": int(targets[number]),
            }
        return values

    def headline(self, scores: Mapping[str, float]) -> str:
        """Return the shares of correct predictions, for the log."""
        return ", ".join(f"{name} {scores[f'right_{name}']:.3f}" for name in self.names)

    def results(self, metrics: Mapping[str, Any]) -> str:
        """Return how often each attribute is predicted right, compared with guessing its most frequent value."""
        best, base = {n.removeprefix("validation_"): v for n, v in metrics["best"].items()}, metrics["baseline"]

        def rate(scores: Mapping[str, Any], name: str) -> str:
            return percent(scores[f"right_{name}"], int(base[f"asked_{name}"]))

        rows = "\n".join(
            f"| {name} | {count_text(int(base[f'asked_{name}']))} | {rate(best, name)} | {rate(base, name)} |"
            for name in self.names
        )
        return f"""From the mean state of each chunk of at least {FEWEST_TOKENS} tokens: loss {best["loss"]:.4f}, by the
shares of the values {base["loss"]:.4f}. What vectors tell of these attributes, they tell by construction.

| Attribute | Chunks | Right | Most frequent value |
|---|---|---|---|
{rows}"""
