"""Contrastive loss over patients: two spans of visits from one record should be nearer to each other than to spans of others.

This is DeCLUTR (Giorgi, Nitski, Wang & Bader 2021, 'DeCLUTR: Deep Contrastive Learning for Unsupervised Textual Representations'),
applied to visits. An anchor and its partner are spans of one chunk that share no visit (`spans`). Each span is read by itself, and
its states are averaged. The loss is -log exp(s/τ) / (exp(s/τ) + Σ exp(s'/τ)), where s is the cosine of anchor and partner, and s'
are the cosines with negatives: spans of other patients in the same block of `together` rows of an update. Other spans of the same
patient are never negatives. The loss is computed in both directions; a span without negatives is left out.

Both spans share everything that does not change in a patient, and age is the easiest to recognise. So the ages of each span are
shifted by a random number, and only spans of the same sex and similar age are negatives of a span, if there are enough of them.

Axes: R rows, T token slots of a row, K spans that a row has room for (anchors even, their partners odd), B blocks of rows, S spans
of a block, D hidden size.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ehr_pipeline.disclosure.figures import count_text
from ehr_pipeline.encoder.devices import as_written
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.objectives import spans
from ehr_pipeline.encoder.objectives.base import Draws, Loss, Part, filled, percent
from ehr_pipeline.encoder.packing import Batch
from ehr_pipeline.encoder.patient_attributes import Traits
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.patients.shard import UNITS_IN_YEAR, ranges

Ints = NDArray[np.int64]
MOST_ROWS = 16
ENOUGH = 4
"""A span is compared only with spans of similar patients if there are at least this many; otherwise with all others."""
AGE_STEPS = 100  # an age in a part is a whole number of hundredths of its unit
SEX = "sex"
NEVER = -1e4
"""Replaces the scaled cosine with a span that is not to be compared, so it adds nothing to loss and gradient."""


class Contrastive(Loss):
    """Finds the partner of a span among spans of other patients. Sums (3,): losses, partners found first, spans."""

    task = "contrast of patients"
    tag = "contrastive-learning"

    def __init__(self, settings: EncoderSettings, traits: Traits):
        super().__init__()
        self.settings, self.own, self.traits = settings, settings.contrastive, traits
        rows = min(settings.tokens_per_step // settings.context, MOST_ROWS)
        self.together = 1 << max(rows.bit_length() - 1, 0)
        self.room = 2 * spans.room(settings.context, self.own)
        self.like = self.own.like_age * UNITS_IN_YEAR[settings.age_unit] * AGE_STEPS

    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> Draws:
        """Draw, for each pair that a row has room for: the cut, the anchor's side and where both spans begin; both lengths; both
        shifts of ages."""
        size = (shape[0], self.room // 2)
        uniform = rng.random((*size, 4))
        lengths = np.stack([rng.beta(*law, size) for law in (spans.ANCHOR, spans.PARTNER)], axis=-1)
        shift = self.own.age_shift * UNITS_IN_YEAR[self.settings.age_unit]
        return uniform, lengths, rng.integers(-shift, shift, (*size, 2), endpoint=True)

    def prepare(self, batch: Batch, draws: Draws) -> Part:
        """Find the spans; the rest of the rows is not used.

        For each token slot (R, T), the part holds the token, its position, the number of its span in the row (from 1; 0 for none)
        and its order. For each span (B, S), it holds the patient (from 1; 0 for no span), the mean age, the patient's sex (from 1;
        0 if unknown), and whether the spans of all other patients are negatives, whatever their age and sex.
        """
        uniform, lengths, shifts = draws
        pairs = spans.pairs(batch, uniform, lengths, self.own)
        rows = batch.tokens_RT.shape[0]
        begin, end = pairs.begin.T.reshape(-1), pairs.end.T.reshape(-1)  # an anchor, its partner, the next anchor …
        row = np.repeat(pairs.row, 2)
        slot = 2 * np.repeat(pairs.slot, 2) + np.tile([0, 1], len(pairs.row))
        size = end - begin
        place = ranges(begin, end)
        positions = batch.positions_RT.reshape(-1)
        # Ages of a record ascend, so the first and the last decide how far they can move within the table.
        low, high = 1 - positions[begin], self.settings.max_positions - 1 - positions[end - 1]
        shift = np.clip(shifts[pairs.row, pairs.slot].reshape(-1), low, high)
        spans_RT = _laid(batch, place, np.repeat(slot + 1, size))
        inside = spans_RT > 0
        positions_RT = np.where(inside, batch.positions_RT, 0) + _laid(batch, place, np.repeat(shift, size))
        tokens_RT, order_RT = np.where(inside, batch.tokens_RT, 0), np.where(inside, batch.order_RT, 0)

        patient = batch.patients_RT.reshape(-1)[begin]
        ages = np.concatenate([[0], np.cumsum(positions)])
        age = (ages[end] - ages[begin]) * AGE_STEPS // np.maximum(size, 1)
        about = []
        for values in (patient + 1, age, self.traits.of(SEX, patient) + 1):
            own_RK = np.zeros((rows, self.room), np.int64)
            own_RK[row, slot] = values
            about.append(filled(own_RK, self.together).reshape(-1, self.together * self.room))
        who, ages_BS, sex = about
        alike = compared(self.like, who, ages_BS, sex, np.zeros_like(who)).sum(2)
        wide = ((alike < ENOUGH) | (self.like == 0)).astype(np.int64)
        counts = compared(self.like, who, ages_BS, sex, wide).any(2)
        return Part((tokens_RT, positions_RT, spans_RT, order_RT, *about, wide), int(counts.sum()))

    def forward(self, encoder: PackedEncoder, *arrays: Tensor) -> Tensor:
        """Return the sum of the losses over the spans."""
        losses_BS, _ = self._losses(encoder, encoder.layers, arrays)
        return losses_BS.sum()

    def no_sums(self) -> NDArray[np.float64]:
        """Return zeros (3,)."""
        return np.zeros(3)

    def score(self, encoder: PackedEncoder, sums: Tensor, *arrays: Tensor) -> None:
        """Add to `sums` the losses in nats, and the number of spans nearer to their partner than to any other."""
        losses_BS, found_BS = self._losses(encoder, encoder.hidden, arrays)
        counts_BS = compared(self.like, *arrays[4:]).any(2)
        sums += torch.stack([losses_BS.double().sum(), (found_BS & counts_BS).double().sum(), counts_BS.double().sum()])

    def _losses(self, encoder: PackedEncoder, layers: Any, arrays: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """Return the loss of each span (B, S), and whether it is nearer to its partner than to any of its negatives."""
        tokens, positions, spans_RT, order, *about = arrays
        states_RTD = layers(tokens, positions, spans_RT, None, order)
        mean_RKD = spans.means(states_RTD, spans_RT, self.room)
        blocks, size = about[0].shape
        with as_written(mean_RKD):
            unit_RKD = F.normalize(mean_RKD, dim=2)
            unit_RKD = F.pad(unit_RKD, (0, 0, 0, 0, 0, blocks * self.together - len(unit_RKD)))
            unit_BSD = unit_RKD.view(blocks, size, -1)
            pair = unit_BSD.view(blocks, size // 2, 2, -1)
            own_BS = (pair[:, :, 0] * pair[:, :, 1]).sum(2, keepdim=True).expand(-1, -1, 2).reshape(blocks, size)
            own_BS = own_BS / self.own.temperature
            all_BSS = unit_BSD @ unit_BSD.transpose(1, 2) / self.own.temperature
            counts_BSS = compared(self.like, *about)
            others_BSS = all_BSS.masked_fill(~counts_BSS, NEVER)
            losses_BS = torch.logaddexp(own_BS, others_BSS.logsumexp(2)) - own_BS
            return losses_BS * counts_BSS.any(2), own_BS > others_BSS.amax(2)

    def baseline(self, parts: Iterable[Part], training_counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sums for a random guess among the partner and the negatives."""
        sums = self.no_sums()
        for part in parts:
            others = compared(self.like, *part.arrays[4:]).sum(2)
            others = others[others > 0] + 1
            sums += [np.log(others).sum(), (1 / others).sum(), len(others)]
        return sums

    def scores(self, sums: NDArray[np.float64]) -> dict[str, float]:
        """Return the mean loss in nats, the share of spans whose partner is found first, and the number of spans."""
        loss, first, count = sums.tolist()
        divisor = max(count, 1.0)
        return {"loss": loss / divisor, "found": first / divisor, "spans": int(count)}

    def headline(self, scores: Mapping[str, float]) -> str:
        """Return the share of partners found, for the log."""
        return f"partners found {scores['found']:.3f}"

    def results(self, metrics: Mapping[str, Any]) -> str:
        """Return how often the partner is nearest, compared with a random guess."""
        best, base = {n.removeprefix("validation_"): v for n, v in metrics["best"].items()}, metrics["baseline"]
        rows = [("this model", best), ("a guess", base)]
        shown = "\n".join(f"| {name} | {s['loss']:.4f} | {percent(s['found'], int(s['spans']))} |" for name, s in rows)
        return f"""Of two spans of visits of one record, each is searched for among spans of other patients, of
the same sex and similar age where there are enough, by the cosine of the mean states ({count_text(int(base["spans"]))} spans). Ages
are shifted by up to {self.own.age_shift} years in each span, so that they do not reveal whose it is.

| | Loss | Partner found first |
|---|---|---|
{shown}"""


def compared(like: int, who: Any, age: Any, sex: Any, wide: Any) -> Any:
    """Return flags (B, S, S) of the negatives of each span, from patient, mean age, sex and `wide` (B, S), in numpy or torch."""
    mine, other = (who[:, :, None], who[:, None, :])
    others = (mine > 0) & (other > 0) & (mine != other)
    near = abs(age[:, :, None] - age[:, None, :]) <= like
    same = (sex[:, :, None] == sex[:, None, :]) | (sex[:, :, None] == 0) | (sex[:, None, :] == 0)
    return others & ((near & same) | (wide[:, :, None] > 0))


def _laid(batch: Batch, place: Ints, values: Ints) -> Ints:
    """Return an array (R, T) with values at places of the flattened R × T, 0 elsewhere."""
    laid = np.zeros_like(batch.tokens_RT)
    laid.reshape(-1)[place] = values
    return laid
