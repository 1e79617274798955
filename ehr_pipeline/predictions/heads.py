"""The encoder with a head for one task, for fine-tuning: it turns histories into log-odds of the outcome.

There are three heads ("BC", "Sum" and "Mask" of He, Rasmy, Zhi & Tao 2025). Each is initialised so that it starts about as good as
its baseline:

classifier   a linear layer on the state at a mask on the day of the query, plus a fixed offset that depends on the vector of the
             history. It starts from a logistic regression on both the state and the vector (`Start`).
sum, mask    a · s + b, where s are the log-odds of the outcome's tokens by the output layer, which is applied to the mean state of
             the history (sum) or to the state at the mask (mask). a and b start from a fit to the labels (`fitted_start`).

Axes: R rows, T token slots, M chosen places, B histories of a part, D hidden size, n rows of a task.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.encoder import packing
from ehr_pipeline.encoder.devices import autocast
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.sequences import Sequences
from ehr_pipeline.errors import UserError
from ehr_pipeline.predictions.query_at_mask import summed_odds
from ehr_pipeline.vocabulary.table import MASK

Floats = NDArray[np.float64]
SPREAD = 1.0
"""Standard deviation of the normal prior of log a, whose mean is 0. With few labels, log-odds stay close to the encoder's."""
NEWTON_STEPS = 50


@dataclass(frozen=True)
class Start:
    """Initial values of a head."""

    weight: Floats
    """Weights (D,) of the state at the mask for a classifier; empty (0,) for the other heads."""
    log_scale: float
    """log a of the heads sum and mask; 0 for a classifier."""
    shift: float


@dataclass(frozen=True)
class Part:
    """A batch of packed histories on the device of the model."""

    rows: NDArray[np.int64]
    """Rows of the task (B,), ascending."""
    tokens_RT: Tensor
    positions_RT: Tensor
    segments_RT: Tensor
    order_RT: Tensor
    places_M: Tensor
    """Indices into the flattened R × T slots of the states to read: those of the masks, or of all tokens."""
    owner_M: Tensor
    """The history of each of these states, as an index into `rows`."""


def parts(sequences: Sequences, rows: NDArray[np.integer], how: Inference, device: torch.device) -> Iterator[Part]:
    """Yield the histories of some rows, packed, each once. `sequences` has one chunk for each row of the task
    (`query_at_mask.laid`)."""
    at_once = max(how.batch_tokens // how.context, 1)
    for group in packing.group_rows(sequences, np.asarray(rows, np.int64), how.context, at_once):
        batch = packing.build(sequences, group, how.context)
        masks = np.flatnonzero(batch.tokens_RT == MASK)
        asks = len(masks) == len(np.concatenate(group))  # otherwise only empty histories have a mask
        places = masks if asks else np.flatnonzero(batch.segments_RT)
        chunk_rows, owner = np.unique(batch.chunks.reshape(-1)[places], return_inverse=True)
        arrays = (batch.tokens_RT, batch.positions_RT, batch.segments_RT, batch.order_RT, places, owner)
        yield Part(chunk_rows, *(torch.from_numpy(array).to(device) for array in arrays))


class Tuned(nn.Module):
    """An encoder with a head. The log-odds of a history are the result of `forward`, plus an offset that is not trained."""

    def __init__(self, encoder: PackedEncoder, head: str, tokens: NDArray[np.integer], *, stops: bool, precision: str):
        super().__init__()
        self.encoder, self.head, self.precision = encoder, head, precision
        self.sign = -1.0 if stops else 1.0
        """-1 if the outcome is the end of a treatment, because the tokens of the treatment then make it less likely."""
        device, width = encoder.stock.device, encoder.stock.config.hidden_size
        self.tokens = torch.from_numpy(np.asarray(tokens, np.int64)).to(device)
        self.weight = nn.Parameter(torch.zeros(width if head == "classifier" else 0, device=device))
        self.log_scale = nn.Parameter(torch.zeros((), device=device))
        self.shift = nn.Parameter(torch.zeros((), device=device))

    def forward(self, part: Part) -> Tensor:
        """Return the log-odds (B,) of the histories of a part, without offsets, in float32."""
        with autocast(self.tokens.device, self.precision):
            hidden_MD = self.encoder.hidden(
                part.tokens_RT, part.positions_RT, part.segments_RT, part.places_M, part.order_RT
            )
        state_BD = mean_states(hidden_MD.float(), part.owner_M, len(part.rows))
        if self.head == "classifier":
            return state_BD @ self.weight + self.shift
        with autocast(self.tokens.device, self.precision):
            logits_BV = self.encoder.logits(state_BD)
        return self.sign * self.log_scale.exp() * summed_odds(logits_BV.float(), self.tokens) + self.shift

    @torch.no_grad()
    def begin(self, start: Start) -> None:
        """Set the head to its initial values."""
        self.weight.copy_(torch.from_numpy(start.weight))
        self.log_scale.fill_(start.log_scale)
        self.shift.fill_(start.shift)

    @torch.no_grad()
    def odds(self, sequences: Sequences, rows: NDArray[np.integer], how: Inference) -> Floats:
        """Return the log-odds (m,) of some rows of the task, without offsets. `rows` must be ascending, and give the order."""
        self.eval()
        log_odds = np.full(len(rows), np.nan)
        for part in parts(sequences, rows, how, self.tokens.device):
            log_odds[np.searchsorted(rows, part.rows)] = self(part).cpu().numpy()
        return log_odds

    def trained(self) -> list[nn.Parameter]:
        """Return the parameters that are not frozen."""
        return [each for each in self.parameters() if each.requires_grad]


def mean_states(hidden_MD: Tensor, owner_M: Tensor, count: int) -> Tensor:
    """Return the mean (B, D) of the states of each history. `owner_M` has the history of each state, `count` is B."""
    sums = hidden_MD.new_zeros(count, hidden_MD.shape[1]).index_add(0, owner_M, hidden_MD)
    return sums / torch.bincount(owner_M, minlength=count)[:, None]


def freeze(encoder: PackedEncoder, layers: int) -> None:
    """Freeze the embeddings and the lower `layers`. If these are all layers, only the output layer is trained.

    Raises UserError for more layers than there are.
    """
    base = encoder.stock.roberta_prelayernorm
    every = base.encoder.layer  # type: ignore[union-attr]
    if layers > len(every):  # type: ignore[arg-type]
        raise UserError(
            f"predictions.fine_tuning.frozen_layers is {layers}, but the encoder has {len(every)} layers."  # type: ignore[arg-type]
        )
    still = [base.embeddings, *every[:layers]] if layers else []  # type: ignore[index]
    if layers == len(every):  # type: ignore[arg-type]
        still.append(base.LayerNorm)
    for module in still:
        module.requires_grad_(False)


def fitted_start(odds: Floats, label: NDArray[np.bool_], weight: Floats) -> Start:
    """Fit a > 0 and b so that a · odds + b predicts the labels (m,) best: logistic loss, normal prior on log a (`SPREAD`).

    Since a > 0, patients keep the encoder's own order, however few labels there are. Uses Newton's method with halved steps.
    """
    centre = float(np.average(odds, weights=weight))
    x, solution = odds - centre, np.zeros(2)  # log a, and the log-odds at the mean
    share = np.clip(np.average(label, weights=weight), 1e-6, 1 - 1e-6)
    solution[1] = np.log(share / (1 - share))

    def loss(tried: Floats) -> float:
        fitted = np.exp(tried[0]) * x + tried[1]
        return float(weight @ np.logaddexp(0, np.where(label, -fitted, fitted)) + (tried[0] / SPREAD) ** 2 / 2)

    now = loss(solution)
    for _ in range(NEWTON_STEPS):
        steep = np.exp(solution[0]) * x
        chance = 1 / (1 + np.exp(-np.clip(steep + solution[1], -700, 700)))
        slope = np.stack([steep, np.ones(len(x))])
        gradient = slope @ (weight * (chance - label)) + np.array([solution[0] / SPREAD**2, 0])
        curvature = (slope * (weight * chance * (1 - chance))) @ slope.T + np.diag([1 / SPREAD**2, 1e-6])
        step = np.linalg.solve(curvature, gradient)
        tried = ((loss(solution - step * size), size) for size in 0.5 ** np.arange(20))
        after, size = next((each for each in tried if each[0] < now), (now, 0.0))
        solution, gain, now = solution - step * size, now - after, after
        if gain < 1e-10 * max(now, 1e-10):
            break
    return Start(np.zeros(0), float(solution[0]), float(solution[1] - np.exp(solution[0]) * centre))
