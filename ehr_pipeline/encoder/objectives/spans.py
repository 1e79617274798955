"""Spans of visits for the contrastive loss: their places in packed rows, and the mean of the states in each span.

Axes: R rows, T token slots of a row, P pairs that a row has room for, W visits, S stretches of chunks, N pairs found.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ehr_pipeline.encoder.devices import as_written
from ehr_pipeline.encoder.packing import Batch, counted
from ehr_pipeline.encoder.settings import ContrastiveSettings

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
ANCHOR, PARTNER = (4.0, 2.0), (2.0, 4.0)
"""Parameters of the beta distributions of span lengths (Giorgi et al. 2021, section 3.1)."""


def room(slots: int, settings: ContrastiveSettings) -> int:
    """Return how many pairs a row has room for."""
    return slots // (2 * settings.fewest_tokens)


@dataclass(frozen=True)
class Pairs:
    """Pairs of spans, in the order of rows. `begin` and `end` (2, N) are places in the flattened R × T, of anchors and partners."""

    row: Ints
    slot: Ints
    """Index of the pair in its row."""
    begin: Ints
    end: Ints


def pairs(batch: Batch, uniform_RP4: Floats, lengths_RP2: Floats, settings: ContrastiveSettings) -> Pairs:
    """Draw pairs of disjoint spans. Each span consists of whole visits and has at least `fewest_tokens` tokens.

    A chunk is divided into stretches, one for each anchor. A stretch is cut between two visits, at a random place that leaves
    enough tokens on both sides. The anchor lies on one side, its partner on the other. A span has the drawn length, or the length
    of its side if that is shorter. It begins at a random place of its side, and is widened to whole visits.
    """
    fewest, most = settings.fewest_tokens, settings.most_tokens
    begins_W, visit_RT = batch.visits()
    sizes_W = np.bincount(visit_RT[visit_RT >= 0], minlength=len(begins_W))
    stretch_W, first_S, tokens_S = _stretches(batch, begins_W, sizes_W, settings)
    before_W = begins_W - first_S[stretch_W]
    cuts = np.flatnonzero((before_W >= fewest) & (tokens_S[stretch_W] - before_W >= fewest))
    cuts_S = np.bincount(stretch_W[cuts], minlength=len(first_S))
    kept = np.flatnonzero(cuts_S)
    row = first_S[kept] // batch.tokens_RT.shape[1]
    slot = counted(row)
    which, side, *places = np.moveaxis(uniform_RP4[row, slot], 1, 0)
    chosen = (np.cumsum(cuts_S) - cuts_S)[kept] + (which * cuts_S[kept]).astype(np.int64)
    left = before_W[cuts[chosen]]
    begin, end = [], []
    for number, place in enumerate(places):
        at_left = (side < 0.5) == (number == 0)
        from_ = first_S[kept] + np.where(at_left, 0, left)
        tokens = np.where(at_left, left, tokens_S[kept] - left)
        length = np.minimum(lengths_RP2[row, slot, number] * (most - fewest) + fewest, tokens).astype(np.int64)
        start = from_ + (place * (tokens - length + 1)).astype(np.int64)
        first, last = (np.searchsorted(begins_W, at, "right") - 1 for at in (start, start + length - 1))
        begin.append(begins_W[first])
        end.append(begins_W[last] + sizes_W[last])
    return Pairs(row, slot, np.stack(begin), np.stack(end))


def _stretches(batch: Batch, begins_W: Ints, sizes_W: Ints, settings: ContrastiveSettings) -> tuple[Ints, Ints, Ints]:
    """Return the stretch of each visit (W,), and the first place and the number of tokens of each stretch (S,).

    A visit belongs to the stretch in which it begins. Apart from this, the stretches of a chunk are equally long.
    """
    if not len(begins_W):
        return begins_W, begins_W, begins_W
    segment_W = batch.segments_RT.reshape(-1)[begins_W]
    row_W = begins_W // batch.tokens_RT.shape[1]
    new_W = np.append(True, (np.diff(row_W) != 0) | (np.diff(segment_W) != 0))
    chunk_W = np.cumsum(new_W) - 1
    tokens_C = np.bincount(chunk_W, sizes_W).astype(np.int64)
    number_C = np.clip(tokens_C // (2 * settings.most_tokens), 1, settings.anchors)
    before_W = begins_W - begins_W[new_W][chunk_W]
    part_W = before_W * number_C[chunk_W] // tokens_C[chunk_W]
    starts_W = new_W | np.append(True, np.diff(part_W) != 0)
    stretch_W = np.cumsum(starts_W) - 1
    return stretch_W, begins_W[starts_W], np.bincount(stretch_W, sizes_W).astype(np.int64)


def means(states_RTD: Tensor, span_RT: Tensor, count: int) -> Tensor:
    """Return the mean state (R, count, D) of each span of a row, numbered from 1; zeros where there is none. In float32."""
    numbers = torch.arange(1, count + 1, device=span_RT.device)
    with as_written(states_RTD):
        own_RKT = (span_RT[:, None, :] == numbers[None, :, None]).float()
        return own_RKT @ states_RTD.float() / own_RKT.sum(2, keepdim=True).clamp(min=1)
