"""Train an attention between chunks: softmax(A Q Kᵀ Aᵀ / √D) A. Q and K learn to recognise two halves of the same patient.

The encoder is frozen. Each patient's visits are halved at random, both halves are aggregated, and each half must be matched to the
other half of the same patient within a batch (InfoNCE: van den Oord 2018, 'Representation learning with contrastive predictive
coding'; in both directions, with a linear head that is discarded afterwards: Chen 2020, SimCLR). Q and K start as identity
matrices, which is the parameter-free attention, and stay identity matrices if training does no better on held-out patients.

Axes: P patients, C chunks, D hidden size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from ehr_pipeline.embeddings.pooling import ChunkVectors

BATCH, RATE, TEMPERATURE = 256, 3e-3, 0.1
LOOK_EVERY, LOOKS, PATIENCE = 25, 40, 6
"""Updates between two checks on held-out patients; most checks; checks without improvement after which training ends."""
MOST_CHUNKS = 32
"""Largest number of chunks of a half used in training; longer halves are cut."""


@dataclass(frozen=True)
class Trained:
    """The trained attention, and facts about its training."""

    arrays: dict[str, NDArray[np.float32]]
    """The matrices `query` and `key`, (D, D) each."""
    facts: dict[str, Any]
    """Number of patients, weights kept (trained or plain), updates, and losses in nats: training, validation, plain, by chance."""


def attend(query: Tensor, key: Tensor, chunks_CD: Tensor) -> Tensor:
    """Return the chunk vectors (C, D) of one patient after attention to each other."""
    scores_CC = (chunks_CD @ query) @ (chunks_CD @ key).T / chunks_CD.shape[1] ** 0.5
    return torch.softmax(scores_CC, dim=1) @ chunks_CD


def train(samples: Sequence[tuple[ChunkVectors, ChunkVectors]], seed: int) -> Trained:
    """Train on the halves of some patients, a fifth of whom are held out to decide when to stop. Deterministic for a given seed."""
    sides: list[list[Tensor]] = [[], []]
    for halves in samples:
        both = np.intersect1d(halves[0].patient, halves[1].patient)
        for side, half in zip(sides, halves, strict=True):
            side += _pieces(half, both)
    order = np.random.default_rng([seed, 0xA66]).permutation(len(sides[0]))
    held = max(len(order) // 5, 1) if len(order) > 1 else 0
    width = samples[0][0].vectors_CD.shape[1]
    plain, learned = (_fit(sides, order, held=held, width=width, seed=seed, learn=learn) for learn in (False, True))
    better = learned.validation < plain.validation  # otherwise keep the identities: parameter-free attention
    kept = learned if better else plain
    facts = {
        "patients": len(order),
        "kept": "trained" if better else "plain",
        "updates": learned.updates,
        "training_loss": learned.training,
        "validation_loss": learned.validation,
        "plain_validation_loss": plain.validation,
        "chance_loss": math.log(min(BATCH, held)) if held else 0.0,
    }
    return Trained({"query": kept.query, "key": kept.key}, facts)


@dataclass(frozen=True)
class _Fitted:
    query: NDArray[np.float32]
    key: NDArray[np.float32]
    training: float
    validation: float
    updates: int


def _fit(
    sides: list[list[Tensor]], order: NDArray[np.int64], *, held: int, width: int, seed: int, learn: bool
) -> _Fitted:
    """Train the head and, with `learn`, also Q and K. Returns the weights that did best on the held-out patients."""
    query, key, head = (torch.eye(width, requires_grad=learn or name == "head") for name in ("query", "key", "head"))
    trained = [parameter for parameter in (query, key, head) if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.01)
    rng = np.random.default_rng([seed, 0xA67])
    learning, others = order[held:], order[:held]
    best = _Fitted(query.detach().numpy().copy(), key.detach().numpy().copy(), math.nan, math.inf, 0)
    waiting: list[NDArray[np.int64]] = []
    for look in range(1, LOOKS + 1):
        losses = []
        for _ in range(LOOK_EVERY):
            waiting = waiting or _batches(rng.permutation(learning))
            if not waiting:
                return best
            loss = _loss(sides, waiting.pop(), query, key, head)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
        with torch.no_grad():
            checked = [_loss(sides, rows, query, key, head).item() for rows in _batches(others)]
        if not checked:
            return best
        if np.mean(checked) < best.validation:
            arrays = (query.detach().numpy().copy(), key.detach().numpy().copy())
            best = _Fitted(*arrays, float(np.mean(losses)), float(np.mean(checked)), look * LOOK_EVERY)
        elif look * LOOK_EVERY - best.updates >= PATIENCE * LOOK_EVERY:
            break
    return best


def _batches(rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Divide rows into batches of BATCH rows. The last may be smaller; it is dropped if it has a single patient, because there
    would be no other patient to tell it from."""
    return [part for start in range(0, len(rows), BATCH) if len(part := rows[start : start + BATCH]) > 1]


def _loss(sides: list[list[Tensor]], rows: NDArray[np.int64], query: Tensor, key: Tensor, head: Tensor) -> Tensor:
    """Return the InfoNCE loss, in nats, averaged over both directions."""
    one, other = (_aggregate([side[row] for row in rows.tolist()], query, key) for side in sides)
    centre = (one.mean(0) + other.mean(0)) / 2
    first, second = (F.normalize((part - centre) @ head, dim=1) for part in (one, other))
    scores = first @ second.T / TEMPERATURE
    fellow = torch.arange(len(rows))
    return (F.cross_entropy(scores, fellow) + F.cross_entropy(scores.T, fellow)) / 2


def _aggregate(pieces: list[Tensor], query: Tensor, key: Tensor) -> Tensor:
    """Return vectors (P, D) of patients with different numbers of chunks; chunks are padded, and the padding gets no attention."""
    chunks_PCD = torch.nn.utils.rnn.pad_sequence(pieces, batch_first=True)
    length = torch.tensor([len(piece) for piece in pieces])
    there_PC = torch.arange(chunks_PCD.shape[1])[None] < length[:, None]
    scores_PCC = (chunks_PCD @ query) @ (chunks_PCD @ key).transpose(1, 2) / chunks_PCD.shape[2] ** 0.5
    mixed_PCD = torch.softmax(scores_PCC.masked_fill(~there_PC[:, None], -torch.inf), dim=2) @ chunks_PCD
    return (mixed_PCD * there_PC[..., None]).sum(1) / length[:, None]


def _pieces(chunks: ChunkVectors, patients: NDArray[np.int64]) -> list[Tensor]:
    """Return the chunk vectors (C, D) of each of `patients`."""
    first = np.searchsorted(chunks.patient, patients)
    last = np.minimum(np.searchsorted(chunks.patient, patients, side="right"), first + MOST_CHUNKS)
    return [
        torch.from_numpy(chunks.vectors_CD[begin:end]) for begin, end in zip(first.tolist(), last.tolist(), strict=True)
    ]
