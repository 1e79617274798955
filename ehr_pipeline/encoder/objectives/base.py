"""What a training asks of its objective: the loop, the evaluation, checkpoints and the model card know objectives by this alone.

Axes: R rows, T token slots of a row.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.packing import Batch

Draws = tuple[NDArray[Any], ...]
"""What chance decides about rows: arrays whose first axis is R, so that a part of an update gets what it gets within the whole."""


@dataclass(frozen=True)
class Part:
    """Packed rows as an objective prepared them: what a process computes at once."""

    arrays: tuple[NDArray[np.int64], ...]
    """What `Objective.forward` and `Objective.score` take after the encoder."""
    count: int
    """Predictions asked for: the loss of an update is the sum of its parts' losses, divided by the sum of their counts."""

    def tensors(self, device: torch.device) -> tuple[Tensor, ...]:
        """The arrays on a device."""
        return tuple(torch.from_numpy(array).to(device, non_blocking=True) for array in self.arrays)


class Objective(nn.Module, ABC):
    """What an encoder learns to do. Parameters of its own are trained and resumed with the encoder's, and not published."""

    detail: ClassVar[str]
    """The name of `details` in metrics.json."""
    pipeline_tag: ClassVar[str]
    tag: ClassVar[str]
    """How the Hugging Face hub calls the use of the model, and the objective."""
    task: ClassVar[str]
    answers: ClassVar[str]
    """Words of the model card: trained by `task`, the model gives vectors, or `answers`."""

    @abstractmethod
    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> Draws:
        """What chance decides about R × T places, whatever tokens stand there."""

    @abstractmethod
    def prepare(self, batch: Batch, draws: Draws) -> Part:
        """Ask what is to be predicted in some rows; in rows of padding, nothing."""

    @abstractmethod
    def forward(self, encoder: PackedEncoder, *arrays: Tensor) -> Tensor:
        """The summed loss of a part. Called through the encoder, so that gradients of several processes are gathered."""

    @abstractmethod
    def no_sums(self) -> NDArray[np.float64]:
        """Zeros, for `score` to add to."""

    @abstractmethod
    def score(self, encoder: PackedEncoder, sums: Tensor, *arrays: Tensor) -> None:
        """Add to `sums` what the encoder makes of a part."""

    @abstractmethod
    def baseline(self, parts: Iterable[Part], training_counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """The sums of a prediction without a model; `training_counts` (V,) are the tokens of the training patients."""

    @abstractmethod
    def scores(self, sums: NDArray[np.float64]) -> dict[str, float]:
        """Scores by name: 'loss', further ones as floats, and counts as whole numbers."""

    @abstractmethod
    def details(self, sums: NDArray[np.float64], baseline: NDArray[np.float64]) -> list[dict[str, Any]]:
        """Scores of the model and of the baseline by group, as JSON-ready rows."""

    @abstractmethod
    def headline(self, scores: Mapping[str, float]) -> str:
        """The score beside the loss that a log shows after each epoch, with its name."""

    @abstractmethod
    def column(self, scores: Mapping[str, float]) -> tuple[str, str]:
        """The same for the table of epochs on the model card: the head of a column, and a score that may be released."""

    @abstractmethod
    def example(self, age_unit: str) -> str:
        """How the published checkpoint is used, as Markdown."""

    @abstractmethod
    def results(self, metrics: Mapping[str, Any]) -> str:
        """What the model card says of the results, as Markdown."""
