"""Measures of pairs of concepts from the trained encoder: the probability of one concept at a mask next to the other, and cosines.

The encoder is queried with records of two tokens, which are shorter than its training records. So its answers show what it has
learned, but are not risks. Axes: n concepts, A ages, V token ids, M tokens that stand for a concept, B rows of a batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.patients.shard import UNITS_IN_YEAR
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, MASK

AGES = (10, 20, 30, 40, 50, 60, 70, 80)
"""Ages, in years, at which the encoder is queried."""
ROWS = 256


@dataclass(frozen=True)
class Tokens:
    """The tokens that stand for each concept. There are several if synonymous codes were merged."""

    first: NDArray[np.int64]
    """The most frequent token of each concept (n,)."""
    every: NDArray[np.int64]
    """All tokens (M,)."""
    place: NDArray[np.int64]
    """The concept of each token in `every` (M,)."""

    @classmethod
    def of(cls, groups: Sequence[Sequence[int]]) -> "Tokens":
        """Make it from the tokens of each concept, the most frequent first."""
        sizes = [len(group) for group in groups]
        every = [token for group in groups for token in group]
        return cls(
            np.array([group[0] for group in groups], np.int64),
            np.array(every, np.int64),
            np.repeat(np.arange(len(groups)), sizes),
        )


def pairs(model: PackedEncoder, tokens: Tokens) -> NDArray[np.float32]:
    """Return the probability (n, n) of the column's concept at a mask next to the row's concept, averaged over AGES."""
    config: Any = model.stock.config
    scale, device = UNITS_IN_YEAR[config.age_unit], model.stock.device
    n = len(tokens.first)
    every, place = (torch.from_numpy(array).to(device) for array in (tokens.every, tokens.place))
    queries = np.stack([np.repeat(tokens.first, len(AGES)), np.full(n * len(AGES), MASK)], axis=1)
    positions = np.repeat(np.tile(np.array(AGES) * scale + 1, n)[:, None], 2, axis=1)
    positions = np.minimum(positions, config.max_position_embeddings - 1)
    probabilities = np.zeros((n, n), np.float32)
    for begin in range(0, len(queries), ROWS):
        rows = slice(begin, begin + ROWS)
        inputs = [torch.from_numpy(array[rows]).to(device) for array in (queries, positions)]
        masks = torch.arange(1, 2 * len(inputs[0]), 2, device=device)
        with torch.no_grad():
            hidden = model.hidden(inputs[0], inputs[1], torch.zeros_like(inputs[0]), masks)
            likely = model.logits(hidden).float().softmax(1)[:, every]
        summed = torch.zeros((len(likely), n), device=device).index_add_(1, place, likely).cpu().numpy()
        np.add.at(probabilities, np.arange(begin, begin + len(summed)) // len(AGES), summed / len(AGES))
    return probabilities


def lift(likely: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the logarithm of the ratio of each probability (n, n) to its column's mean: how much likelier the column's concept is
    next to the row's concept than next to others."""
    log_ratio: NDArray[np.float32] = np.log(np.maximum(likely, 1e-12)) - np.log(np.maximum(likely.mean(0), 1e-12))
    return log_ratio


def cosine(model: PackedEncoder, tokens: Tokens) -> NDArray[np.float32]:
    """Return cosines (n, n) of the input vectors, after subtracting the mean vector of the whole vocabulary."""
    vectors = model.stock.token_vectors.detach().cpu().numpy()
    centred = vectors[tokens.every] - vectors[FIRST_CONCEPT:].mean(0)
    mean = np.zeros((len(tokens.first), vectors.shape[1]), np.float32)
    np.add.at(mean, tokens.place, centred)
    unit = mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
    cosines: NDArray[np.float32] = unit @ unit.T
    return cosines
