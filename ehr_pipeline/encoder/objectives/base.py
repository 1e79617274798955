"""Interface of a training objective: the loop, the evaluation, checkpoints and the model card use objectives only through it.

A `Loss` can be added to an encoder's objective (`weighted`). An `Objective` is a loss for which an encoder can be trained alone: it
also provides texts about the use of the trained model for the model card.

Axes: R rows, T token slots of a row, K losses of a weighted sum.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ehr_pipeline.disclosure.figures import FEWEST as FEWEST_PATIENTS
from ehr_pipeline.disclosure.figures import Guard
from ehr_pipeline.disclosure.kinds import Events, Share
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.packing import Batch

Draws = tuple[NDArray[Any], ...]
"""Random draws for rows: arrays with first axis R, so that a row keeps its draws however an update is divided."""


@dataclass(frozen=True)
class Part:
    """Packed rows prepared by an objective, which a process computes at once."""

    arrays: tuple[NDArray[np.int64], ...]
    """Arguments of `Objective.forward` and `Objective.score` after the encoder (and `sums`)."""
    count: int
    """Number of predictions. The loss of an update is the sum of its parts' losses over the sum of their counts."""
    counts: tuple[int, ...] = ()
    """For a weighted sum: the number of predictions of each loss (K). The loss of an update is then the sum of their means."""

    joined: Tensor | None = None
    """All arrays, one after the other, as int32 in pinned memory, from which a GPU copies by itself (`pinned`)."""

    def pinned(self, gpu: torch.device) -> "Part":
        """Return the part with `joined`."""
        torch.cuda.set_device(gpu)  # of this thread, which would otherwise open a context on the first GPU
        flat = np.concatenate([array.reshape(-1) for array in self.arrays]).astype(np.int32)
        return replace(self, joined=torch.from_numpy(flat).pin_memory())

    def tensors(self, device: torch.device) -> tuple[Tensor, ...]:
        """Return the arrays as tensors on a device. With `joined`, this is one copy, and the host does not wait for it."""
        if self.joined is None:
            return tuple(torch.from_numpy(array).to(device) for array in self.arrays)
        flat = self.joined.to(device, non_blocking=True).long()
        pieces = torch.split(flat, [array.size for array in self.arrays])
        return tuple(piece.view(array.shape) for piece, array in zip(pieces, self.arrays, strict=True))


def filled(values: NDArray[Any], length: int, value: int = 0) -> NDArray[Any]:
    """Return an array whose first axis is filled up with `value` to the next multiple of `length`, at least to `length`."""
    missing = -len(values) % length or (0 if len(values) else length)
    if not missing:
        return values
    return np.concatenate([values, np.full((missing, *values.shape[1:]), value, values.dtype)])


def percent(share: float, of: int) -> str:
    """Format a share of predictions for release, rounded: all digits would reveal the number of predictions, and so of patients."""
    return Guard(FEWEST_PATIENTS).percent(Share.of(share, Events(of)))


class Loss(nn.Module, ABC):
    """What an encoder learns to do. Its own parameters are trained and resumed with the encoder's, but not published."""

    task: str
    """Words for the model card: a model is 'trained by `task`'."""
    tag: str
    """Name on the Hugging Face hub."""
    together: int = 1
    """Number of consecutive rows of an update that are compared with each other, a power of two up to `evaluate.ROWS`. These rows
    always stay in the same part, so the result does not depend on how updates are divided."""

    @abstractmethod
    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> Draws:
        """Make the random draws for R × T places, independently of the tokens in them."""

    @abstractmethod
    def prepare(self, batch: Batch, draws: Draws) -> Part:
        """Prepare some rows: choose the predictions to make. Rows of padding get none."""

    def padded(self, part: Part) -> Part:
        """Pad the arrays of a part with predictions of no weight, so that their lengths depend only on the number of rows.

        A loss without this method must already return parts with such arrays.
        """
        return part

    @abstractmethod
    def forward(self, encoder: PackedEncoder, *arrays: Tensor) -> Tensor:
        """Return the summed loss of a part; a weighted sum returns each loss times its weight (K,). Call it through the encoder, to
        combine the gradients of all processes."""

    @abstractmethod
    def no_sums(self) -> NDArray[np.float64]:
        """Return zeros, to which `score` adds."""

    @abstractmethod
    def score(self, encoder: PackedEncoder, sums: Tensor, *arrays: Tensor) -> None:
        """Add the results of the encoder on a part to `sums`."""

    @abstractmethod
    def baseline(self, parts: Iterable[Part], training_counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sums for predictions without a model. `training_counts` (V,) are the token counts of the training patients."""

    @abstractmethod
    def scores(self, sums: NDArray[np.float64]) -> dict[str, float]:
        """Return scores by name: 'loss' and other scores as floats, counts as integers."""

    @abstractmethod
    def headline(self, scores: Mapping[str, float]) -> str:
        """Return the name and value of the score that is logged next to the loss after each epoch."""

    @abstractmethod
    def results(self, metrics: Mapping[str, Any]) -> str:
        """Return the results for the model card, as Markdown."""


class Objective(Loss):
    """A loss for which an encoder can be trained alone."""

    detail: str
    """The key of `details` in metrics.json."""
    pipeline_tag: str
    """Name on the Hugging Face hub for the use of the model."""
    answers: str
    """Words for the model card: a model gives 'a vector for each concept, or `answers`'."""

    @abstractmethod
    def details(self, sums: NDArray[np.float64], baseline: NDArray[np.float64]) -> list[dict[str, Any]]:
        """Return scores of the model and of the baseline by group, as JSON-ready rows."""

    @abstractmethod
    def column(self, scores: Mapping[str, float]) -> tuple[str, str]:
        """Return the headline score for the table of epochs on the model card: column header, and score in a releasable form."""

    @abstractmethod
    def example(self, age_unit: str) -> str:
        """Return an example of how to use the published checkpoint, as Markdown."""
