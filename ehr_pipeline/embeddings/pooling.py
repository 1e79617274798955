"""From token vectors to one vector for each patient, as published: mean in each chunk, attention between chunks, mean.

Axes: C chunks, P patients, D hidden size.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehr_pipeline.encoder import packing
from ehr_pipeline.encoder.devices import autocast
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.sequences import Sequences, Shard, cut


@dataclass(frozen=True)
class Pooled:
    """Vectors of some patients."""

    vectors_PD: NDArray[np.float32]
    """Zero where `tokens` is 0: such a patient has no vector."""
    chunks: NDArray[np.int64]
    """Chunks (P,) with a chosen token."""
    tokens: NDArray[np.int64]
    """Chosen tokens (P,)."""


def attend(chunks_CD: Tensor) -> Tensor:
    """Chunk vectors that attended to each other: softmax(A Aᵀ / √D) A, without parameters (Vaswani 2017, section 3.2.1)."""
    scores_CC = chunks_CD @ chunks_CD.T / chunks_CD.shape[1] ** 0.5
    return torch.softmax(scores_CC, dim=1) @ chunks_CD


@dataclass(frozen=True)
class Inference:
    """How the encoder is run; the first three are those of its training."""

    context: int
    age_unit: Literal["year", "quarter"]
    max_positions: int
    batch_tokens: int
    precision: str


@torch.no_grad()
def pool_patients(
    model: PackedEncoder,
    shard: Shard,
    patients: NDArray[np.int64],
    chosen: NDArray[np.bool_],
    how: Inference,
    device: torch.device,
) -> Pooled:
    """Vectors of some patients (rows of a shard). All tokens attend within their chunk; only the chosen ones are averaged.

    `chosen` (V,) flags token ids. A chunk without a chosen token takes no part.
    """
    chunks = cut(shard, 0, patients, how.context)
    sequences = Sequences((shard,), chunks, how.age_unit, how.max_positions)
    width = model.stock.config.hidden_size
    sums_CD, counts_C = torch.zeros(len(chunks), width, device=device), torch.zeros(len(chunks), device=device)
    flags = torch.from_numpy(chosen).to(device)
    for rows in packing.group_rows(
        sequences, np.arange(len(chunks)), how.context, max(how.batch_tokens // how.context, 1)
    ):
        batch = packing.build(sequences, rows, how.context)
        tokens, positions, segments, owner = (
            torch.from_numpy(array).to(device)
            for array in (batch.tokens_RT, batch.positions_RT, batch.segments_RT, batch.chunks)
        )
        with autocast(device, how.precision):
            hidden_RTD = model.hidden(tokens, positions, segments)
        counted = flags[tokens] & (segments > 0)
        sums_CD.index_add_(0, owner[counted], hidden_RTD[counted].float())
        counts_C.index_add_(0, owner[counted], torch.ones(int(counted.sum()), device=device))
    return _over_chunks(sums_CD.cpu(), counts_C.cpu(), chunks.patient, patients)


def _over_chunks(sums_CD: Tensor, counts_C: Tensor, owner: NDArray[np.int64], patients: NDArray[np.int64]) -> Pooled:
    vectors = np.zeros((len(patients), sums_CD.shape[1]), np.float32)
    chunk_count, token_count = np.zeros(len(patients), np.int64), np.zeros(len(patients), np.int64)
    first = np.searchsorted(owner, patients)  # chunks lie in order of patients
    last = np.searchsorted(owner, patients, side="right")
    for index, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        counts = counts_C[begin:end]
        taking_part = counts > 0
        chunk_count[index], token_count[index] = int(taking_part.sum()), int(counts.sum())
        if chunk_count[index]:
            means = sums_CD[begin:end][taking_part] / counts[taking_part, None]
            vectors[index] = attend(means).mean(0).numpy()
    return Pooled(vectors, chunk_count, token_count)
