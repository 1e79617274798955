"""How well masked concepts are predicted, beside the honest baseline that predicts by frequency alone.

Every evaluation of a data set uses the same masks, so that epochs and models can be compared. V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from ehr_pipeline.encoder import masking, packing
from ehr_pipeline.encoder.devices import autocast
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT
from ehr_pipeline.work import jobs

ROWS = 16
TOP = 10


@dataclass(frozen=True)
class Scores:
    """Mean cross-entropy in nats, shares of masked tokens found first and among the first ten, and their number."""

    loss: float
    top1: float
    top10: float
    masked_tokens: int

    def as_dict(self) -> dict[str, float]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Tally:
    """For each token id that was asked for: sum of losses, found first, found among the first ten, times asked; (4, V)."""

    sums_4V: NDArray[np.float64]

    def scores(self, tokens: Sequence[int] | NDArray[np.int64] | slice = slice(None)) -> Scores:
        """Scores over all token ids, or over some."""
        loss, first, ten, count = self.sums_4V[:, tokens].sum(1)
        divisor = max(count, 1.0)
        return Scores(float(loss / divisor), float(first / divisor), float(ten / divisor), int(count))


@torch.no_grad()
def evaluate(
    model: PackedEncoder,
    sequences: Sequences,
    settings: EncoderSettings,
    vocabulary_size: int,
    seed: int,
    device: torch.device,
) -> Tally:
    """What a model makes of all chunks of `sequences`, shared out over the processes of the job."""
    model.eval()
    sums = torch.zeros(4, vocabulary_size, dtype=torch.float64, device=device)
    for number, (batch, masked) in enumerate(_asked(sequences, settings, vocabulary_size, seed)):
        if number % jobs.world_size() != jobs.rank():
            continue
        arrays = (masked.inputs_RT, batch.positions_RT, batch.segments_RT, masked.chosen_M)
        targets = torch.from_numpy(masked.targets_M).to(device)
        with autocast(device, settings.precision):
            hidden = model.hidden(*(torch.from_numpy(array).to(device) for array in arrays))
            logits = model.logits(hidden).float()
        loss = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        best = logits.topk(min(TOP, vocabulary_size), dim=1).indices == targets[:, None]
        figures = torch.stack([loss, best[:, 0].float(), best.any(1).float(), torch.ones_like(loss)])
        sums.index_add_(1, targets, figures.double())
    if jobs.world_size() > 1:
        dist.all_reduce(sums)
    return Tally(sums.cpu().numpy())


def frequency_baseline(
    training_counts: NDArray[np.int64], sequences: Sequences, settings: EncoderSettings, vocabulary_size: int, seed: int
) -> Tally:
    """What always predicting by the frequency of concepts among the training patients (add-one smoothing) makes of the same."""
    smoothed = training_counts + 1.0
    smoothed[:FIRST_CONCEPT] = 1e-9
    asked = np.zeros(vocabulary_size, np.int64)
    for _, masked in _asked(sequences, settings, vocabulary_size, seed):
        asked += np.bincount(masked.targets_M, minlength=vocabulary_size)
    ranking = np.argsort(-smoothed, kind="stable")
    first, ten = np.zeros(vocabulary_size), np.zeros(vocabulary_size)
    first[ranking[0]], ten[ranking[:TOP]] = 1, 1
    return Tally(np.stack([-np.log(smoothed / smoothed.sum()) * asked, first * asked, ten * asked, asked]))


def _asked(
    sequences: Sequences, settings: EncoderSettings, vocabulary_size: int, seed: int
) -> Iterator[tuple[packing.Batch, masking.Masked]]:
    groups = packing.group_rows(sequences, np.arange(len(sequences.chunks)), settings.context, ROWS)
    for number, rows in enumerate(groups):
        batch = packing.build(sequences, rows, settings.context)
        rng = np.random.default_rng([seed, number, 0xE7A1])
        draws = masking.Draws.draw(batch.tokens_RT.shape, settings.mask_share, vocabulary_size, rng)
        yield batch, masking.mask(batch.tokens_RT, draws)
