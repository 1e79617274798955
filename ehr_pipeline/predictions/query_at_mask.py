"""Query the encoder about the future: append to a history a visit that holds only [MASK], at the age in question.

The distribution over concepts at the mask comes from the encoder as it was trained, so no label is needed (He et al. 2025, "Mask").
The encoder does not know dates: only the age at the mask tells how far ahead the query is. If a history is longer than the context,
its last tokens are kept before the mask. Axes: H histories, M histories of a batch, D hidden size, V vocabulary.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.encoder import packing
from ehr_pipeline.encoder.devices import autocast
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.sequences import Chunks, Sequences, concatenate
from ehr_pipeline.patients.histories import with_visit
from ehr_pipeline.patients.shard import Shard
from ehr_pipeline.vocabulary.table import MASK


def laid(
    histories: Sequence[Shard],
    days: Sequence[NDArray[np.integer]],
    how: Inference,
    before: int = 0,
    *,
    mask: bool = True,
) -> Sequences:
    """Lay out the histories of several shards. Each becomes one chunk: its last tokens, and a mask on the day of the query.

    `days` has, for each shard, the day of each of its histories. Chunks are in the order of shards and rows. At most `before`
    tokens precede the mask; 0: as many as the context holds. Without `mask`, only histories without tokens get a mask. Raises
    ValueError for a negative `before`.
    """
    if before < 0:
        raise ValueError(f"before is a number of tokens from 0, not {before}")
    masked = tuple(with_visit(history, MASK, day) for history, day in zip(histories, days, strict=True))
    room, parts = min(before, how.context - 1) if before else how.context - 1, []
    for number, history in enumerate(masked):
        end = history.patient_tokens[1:]
        length = np.minimum(end - history.patient_tokens[:-1], room + 1)
        shown = length if mask else np.maximum(length - 1, 1)
        parts.append(Chunks(np.full(len(end), number, np.int32), np.arange(len(end)), end - length, shown))
    return Sequences(masked, concatenate(parts), how.age_unit, how.max_positions)


def at_mask(
    model: PackedEncoder, histories: Shard, day: NDArray[np.integer], how: Inference, before: int = 0
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Yield the hidden states at the mask, batch by batch: rows of `histories` (M,), and states (M, D) on the model's device.

    `day` (H,) is the day on which each history is queried. At most `before` tokens precede the mask; 0: as many as the context
    holds. Every history comes exactly once. A history without tokens consists of the mask and its age alone. Raises ValueError for
    a negative `before`."""
    sequences = laid([histories], [day], how, before)
    rows_at_once = max(how.batch_tokens // how.context, 1)
    for rows in packing.group_rows(sequences, np.arange(len(sequences.chunks)), how.context, rows_at_once):
        batch = packing.build(sequences, rows, how.context)
        places = np.flatnonzero(batch.tokens_RT == MASK)
        arrays = (batch.tokens_RT, batch.positions_RT, batch.segments_RT, places, batch.order_RT)
        tensors = [torch.from_numpy(array).to(model.stock.device) for array in arrays]
        with torch.no_grad(), autocast(model.stock.device, how.precision):
            hidden_MD = model.hidden(*tensors)
        yield batch.chunks.reshape(-1)[places], hidden_MD


def answers(
    model: PackedEncoder,
    histories: Shard,
    day: NDArray[np.integer],
    how: Inference,
    before: int = 0,
    *,
    lists: Sequence[NDArray[np.integer]] = (),
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the hidden states (H, D) at the masks, and the log-odds (H, L) there of L lists of token ids."""
    count = len(histories.birth_day)
    states = np.zeros((count, model.stock.config.hidden_size), np.float32)
    odds = np.zeros((count, len(lists)), np.float32)
    for rows, hidden in at_mask(model, histories, day, how, before):
        states[rows] = hidden.float().cpu().numpy()
        if lists:
            odds[rows] = log_odds(logits(model, hidden, how.precision), lists)
    return states, odds


def logits(model: PackedEncoder, hidden_MD: Tensor, precision: str) -> Tensor:
    """Return the scores (M, V) of all token ids, in float32, from the hidden states at masks."""
    with torch.no_grad(), autocast(model.stock.device, precision):
        scores = model.logits(hidden_MD)
    return scores.float()


def log_odds(logits_MV: Tensor, lists: Sequence[NDArray[np.integer]]) -> NDArray[np.float32]:
    """Return the log-odds (M, L) that the concept at the mask is on a list, for each of L lists of token ids.

    log Σ_{c in list} e^z − log Σ_{c not in list} e^z is the logit of the softmax summed over the list. This form stays exact if
    the sum is near 0 or 1. It is −∞ for an empty list.
    """
    odds = np.full((len(logits_MV), len(lists)), -np.inf, np.float32)
    for number, tokens in enumerate(lists):
        if len(tokens):
            odds[:, number] = summed_odds(logits_MV, torch.from_numpy(np.asarray(tokens, np.int64))).cpu().numpy()
    return odds


def summed_odds(logits_MV: Tensor, tokens: Tensor) -> Tensor:
    """Return the log-odds (M,) that the concept at the mask is one of `tokens` (c,), which must not be empty (see `log_odds`)."""
    inside = torch.zeros(logits_MV.shape[1], dtype=torch.bool, device=logits_MV.device)
    inside[tokens.to(logits_MV.device)] = True
    return logits_MV[:, inside].logsumexp(1) - logits_MV[:, ~inside].logsumexp(1)
