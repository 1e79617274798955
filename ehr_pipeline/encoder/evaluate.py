"""How well masked concepts are predicted, beside the honest baseline that predicts by frequency alone.

Every evaluation of a data set uses the same masks, so that epochs and models can be compared.
"""

from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from ehr_pipeline import jobs
from ehr_pipeline.encoder import masking, packing
from ehr_pipeline.encoder.devices import autocast
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT

ROWS = 32
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


@torch.no_grad()
def evaluate(
    model: PackedEncoder,
    sequences: Sequences,
    settings: EncoderSettings,
    vocabulary_size: int,
    seed: int,
    device: torch.device,
) -> Scores:
    """Scores of a model on all chunks of `sequences`, shared out over the processes of the job."""
    model.eval()
    totals = torch.zeros(4, dtype=torch.float64)
    groups = packing.group_rows(sequences, np.arange(len(sequences.chunks)), settings.context, ROWS)
    for number, rows in enumerate(groups):
        if number % jobs.world_size() != jobs.rank():
            continue
        batch = packing.build(sequences, rows, settings.context)
        masked = masking.mask(batch.tokens_RT, settings.mask_share, vocabulary_size, _fixed_masks(seed, number))
        arrays = (masked.inputs_RT, batch.positions_RT, batch.segments_RT)
        tokens, positions, segments, chosen, targets = (
            torch.from_numpy(a).to(device) for a in (*arrays, masked.chosen_RT, masked.targets)
        )
        with autocast(device, settings.precision):
            logits = model.logits(model.hidden(tokens, positions, segments)[chosen])
        loss = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="sum")
        best = logits.topk(min(TOP, vocabulary_size), dim=1).indices == targets[:, None]
        totals += torch.tensor(
            [loss.item(), best[:, 0].sum().item(), best.any(1).sum().item(), len(targets)], dtype=torch.float64
        )
    if jobs.world_size() > 1:
        shared = totals.to(device)
        dist.all_reduce(shared)
        totals = shared.cpu()
    count = max(totals[3].item(), 1)
    return Scores(totals[0].item() / count, totals[1].item() / count, totals[2].item() / count, int(totals[3].item()))


def frequency_baseline(
    training_counts: NDArray[np.int64], sequences: Sequences, settings: EncoderSettings, vocabulary_size: int, seed: int
) -> Scores:
    """Scores of always predicting by the frequency of concepts among the training patients (add-one smoothing)."""
    smoothed = training_counts + 1.0
    smoothed[:FIRST_CONCEPT] = 1e-9
    log_frequency = np.log(smoothed / smoothed.sum())
    ranking = np.argsort(-smoothed, kind="stable")
    loss, top1, top10, count = 0.0, 0, 0, 0
    for number, rows in enumerate(
        packing.group_rows(sequences, np.arange(len(sequences.chunks)), settings.context, ROWS)
    ):
        batch = packing.build(sequences, rows, settings.context)
        targets = masking.mask(
            batch.tokens_RT, settings.mask_share, vocabulary_size, _fixed_masks(seed, number)
        ).targets
        loss -= float(log_frequency[targets].sum())
        top1 += int((targets == ranking[0]).sum())
        top10 += int(np.isin(targets, ranking[:TOP]).sum())
        count += len(targets)
    return Scores(loss / max(count, 1), top1 / max(count, 1), top10 / max(count, 1), count)


def _fixed_masks(seed: int, number: int) -> np.random.Generator:
    return np.random.default_rng([seed, number, 0xE7A1])
