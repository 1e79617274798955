"""Average token vectors to one vector for each chunk, and chunk vectors to one vector for each patient.

The published method takes the mean over the chosen tokens of a chunk, applies attention between chunks, and takes the mean over
chunks. Settings can add token weights, and replace or remove the attention between chunks. Axes: C chunks, P patients, D hidden
size, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehr_pipeline.embeddings.embedding_job import EncoderJob, Inference
from ehr_pipeline.encoder import checkpoint, hardware_choices, packing
from ehr_pipeline.encoder.devices import autocast
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.sequences import Sequences, cut
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.vocabulary.table import Vocabulary

Attention = Callable[[Tensor], Tensor]
"""A function that returns the chunk vectors (C, D) of one patient after attention to each other."""


@dataclass(frozen=True)
class ChunkVectors:
    """The chunks of some patients that contain a chosen token, ordered by patient."""

    vectors_CD: NDArray[np.float32]
    """Weighted means of the chosen tokens' vectors."""
    patient: NDArray[np.int64]
    """Patient of each chunk (C,), as an index into the patients requested."""
    weights: NDArray[np.float32]
    """Sum of the chosen tokens' weights (C,)."""
    tokens: NDArray[np.int64]
    """Number of chosen tokens (C,)."""


@dataclass(frozen=True)
class Pooled:
    """Vectors of patients, pooled over their chunks."""

    vectors_PD: NDArray[np.float32]
    """Vectors of the patients (P, D); zero where `tokens` is 0, since such a patient has no vector."""
    chunks: NDArray[np.int64]
    """Number of chunks (P,) with a chosen token."""
    tokens: NDArray[np.int64]
    """Number of chosen tokens (P,)."""


def load(job: EncoderJob, device: torch.device) -> tuple[PackedEncoder, Inference]:
    """Load the encoder of a job, and resolve how to run it here. Raises UserError if checkpoint and vocabulary do not match."""
    model = checkpoint.load(job.checkpoint, Vocabulary.read(job.vocabulary), device)
    precision = hardware_choices.precision_of(job.settings.precision, model.stock.config)
    return model, replace(job.settings, precision=precision)


def attend(chunks_CD: Tensor) -> Tensor:
    """Return chunk vectors after parameter-free attention to each other: softmax(A Aᵀ / √D) A (Vaswani 2017, section 3.2.1)."""
    scores_CC = chunks_CD @ chunks_CD.T / chunks_CD.shape[1] ** 0.5
    return torch.softmax(scores_CC, dim=1) @ chunks_CD


@torch.no_grad()
def pool_chunks(
    model: PackedEncoder,
    shard: Shard,
    patients: NDArray[np.int64],
    weights: NDArray[np.floating],
    how: Inference,
) -> ChunkVectors:
    """Compute the chunk vectors of some patients (rows of a shard, ascending). All tokens of a chunk attend; only chosen ones are
    averaged.

    `weights` (V,) are by token id; a token of weight 0 is not chosen. A chunk without a chosen token is left out.
    """
    chunks = cut(shard, 0, patients, how.context)
    sequences = Sequences((shard,), chunks, how.age_unit, how.max_positions)
    width, device = model.stock.config.hidden_size, model.stock.device
    sums_CD, weights_C = torch.zeros(len(chunks), width, device=device), torch.zeros(len(chunks), device=device)
    tokens_C = torch.zeros(len(chunks), dtype=torch.int64, device=device)
    weights_V = torch.from_numpy(weights.astype(np.float32)).to(device)
    for rows in packing.group_rows(
        sequences, np.arange(len(chunks)), how.context, max(how.batch_tokens // how.context, 1)
    ):
        batch = packing.build(sequences, rows, how.context)
        tokens, positions, segments, owner, order = (
            torch.from_numpy(array).to(device)
            for array in (batch.tokens_RT, batch.positions_RT, batch.segments_RT, batch.chunks, batch.order_RT)
        )
        weighed = (weights_V[tokens] * (segments > 0)).reshape(-1)
        places = torch.nonzero(weighed)[:, 0]
        if not len(places):
            continue
        # In the last layer, only the chosen tokens are computed; the others are not used.
        with autocast(device, how.precision):
            hidden_MD = model.hidden(tokens, positions, segments, places, order)
        chunk, weight = owner.reshape(-1)[places], weighed[places]
        sums_CD.index_add_(0, chunk, hidden_MD.float() * weight[:, None])
        weights_C.index_add_(0, chunk, weight)
        tokens_C.index_add_(0, chunk, torch.ones_like(chunk))
    chosen = (tokens_C > 0).cpu().numpy()
    sums, totals = sums_CD.cpu().numpy()[chosen], weights_C.cpu().numpy()[chosen]
    patient = np.searchsorted(patients, chunks.patient[chosen])
    return ChunkVectors(sums / totals[:, None], patient, totals, tokens_C.cpu().numpy()[chosen])


def over_chunks(chunks: ChunkVectors, patients: int, attention: Attention | None) -> Pooled:
    """Return a vector for each of `patients`: the mean of chunk vectors after `attention`, or without it their weighted mean."""
    width, owner = chunks.vectors_CD.shape[1], chunks.patient
    count = np.bincount(owner, minlength=patients)
    tokens = np.zeros(patients, np.int64)
    np.add.at(tokens, owner, chunks.tokens)
    vectors = np.zeros((patients, width), np.float32)
    if attention is None:
        total = np.bincount(owner, chunks.weights, patients)[owner]
        np.add.at(vectors, owner, chunks.vectors_CD * (chunks.weights / total).astype(np.float32)[:, None])
        return Pooled(vectors, count, tokens)
    last = np.cumsum(count)
    alone = np.flatnonzero(count == 1)  # attention has no effect on a single chunk
    vectors[alone] = chunks.vectors_CD[last[alone] - 1]
    for index in np.flatnonzero(count > 1).tolist():
        of_patient = torch.from_numpy(chunks.vectors_CD[last[index] - count[index] : last[index]])
        vectors[index] = attention(of_patient).mean(0).numpy()
    return Pooled(vectors, count, tokens)
