"""An objective with additional losses: the weighted sum of their means over an update.

The scores of the objective keep their names, except its loss: 'loss' is the weighted sum, and '<name>_loss' is each loss without
its weight. Other scores of an additional loss begin with its name. Axes: K losses, the objective's first.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.objectives.base import Draws, Loss, Objective, Part
from ehr_pipeline.encoder.packing import Batch, padding_rows


class WeightedSum(Objective):
    """The objective `name` with weight 1, and additional losses by name with their weights."""

    def __init__(self, name: str, objective: Objective, auxiliary: Mapping[str, tuple[float, Loss]], context: int):
        super().__init__()
        self.names = (name, *auxiliary)
        self.weights = (1.0, *(weight for weight, _ in auxiliary.values()))
        self.losses = nn.ModuleList([objective, *(loss for _, loss in auxiliary.values())])
        self.detail, self.pipeline_tag, self.answers = objective.detail, objective.pipeline_tag, objective.answers
        others = [f"{loss.task} (weight {weight:g})" for weight, loss in auxiliary.values()]
        self.task = f"{objective.task} with {' and '.join(others)}"
        self.tag = ", ".join(loss.tag for loss in self._each())
        self.together = max(loss.together for loss in self._each())
        empty = [(loss, loss.draw((1, context), np.random.default_rng(0))) for loss in self._each()]
        self.drawn = [len(draws) for _, draws in empty]
        self.arrays = [len(loss.prepare(padding_rows(1, context), draws).arrays) for loss, draws in empty]

    @property
    def _objective(self) -> Objective:
        return self.losses[0]  # type: ignore[return-value]

    def _each(self) -> list[Loss]:
        return list(self.losses)  # type: ignore[arg-type]

    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> Draws:
        """Make the draws of all losses. Those of the objective come first, so they are the same as without additional losses."""
        return tuple(array for loss in self._each() for array in loss.draw(shape, rng))

    def prepare(self, batch: Batch, draws: Draws) -> Part:
        """Prepare the rows for each loss, and put the parts together."""
        pieces = zip(self._each(), _pieces(draws, self.drawn), strict=True)
        return _joined([loss.prepare(batch, own_draws) for loss, own_draws in pieces])

    def padded(self, part: Part) -> Part:
        """Pad the arrays of each loss."""
        return _joined([loss.padded(piece) for loss, piece in zip(self._each(), self._parts(part), strict=True)])

    def _parts(self, part: Part) -> list[Part]:
        """Return the part that each loss had prepared."""
        pieces = _pieces(part.arrays, self.arrays)
        return [Part(arrays, count) for arrays, count in zip(pieces, part.counts, strict=True)]

    def forward(self, encoder: PackedEncoder, *arrays: Tensor) -> Tensor:
        """Return the summed losses times their weights (K,)."""
        pieces = zip(self.weights, self.losses, _pieces(arrays, self.arrays), strict=True)
        return torch.stack([weight * loss(encoder, *piece) for weight, loss, piece in pieces])

    def no_sums(self) -> NDArray[np.float64]:
        """Return the zeros of all losses, one after the other."""
        return np.concatenate([loss.no_sums().reshape(-1) for loss in self._each()])

    def _sums(self, sums: Any) -> list[Any]:
        """Return the sums of each loss, in the shape that this loss gives them. They are views of the array or tensor."""
        shapes = [loss.no_sums().shape for loss in self._each()]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes]).tolist()
        return [sums[end - int(np.prod(shape)) : end].reshape(shape) for shape, end in zip(shapes, ends, strict=True)]

    def score(self, encoder: PackedEncoder, sums: Tensor, *arrays: Tensor) -> None:
        """Add the results of each loss to its part of `sums`."""
        for loss, part, piece in zip(self._each(), self._sums(sums), _pieces(arrays, self.arrays), strict=True):
            loss.score(encoder, part, *piece)

    def baseline(self, parts: Iterable[Part], training_counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the sums for predictions without a model, of each loss."""
        sums = self.no_sums()
        for part in parts:
            for loss, sums_of_loss, piece in zip(self._each(), self._sums(sums), self._parts(part), strict=True):
                sums_of_loss += loss.baseline([piece], training_counts)
        return sums

    def scores(self, sums: NDArray[np.float64]) -> dict[str, float]:
        """Return the scores of all losses (see the module)."""
        each = [loss.scores(part) for loss, part in zip(self._each(), self._sums(sums), strict=True)]
        total = sum(weight * scores["loss"] for weight, scores in zip(self.weights, each, strict=True))
        first, *others = zip(self.names, each, strict=True)
        joined = {**first[1], "loss": total, f"{first[0]}_loss": first[1]["loss"]}
        return joined | {f"{name}_{key}": value for name, scores in others for key, value in scores.items()}

    def _scores_of(self, number: int, scores: Mapping[str, Any], before: str = "") -> dict[str, Any]:
        """Return the scores of one loss under its own names, from scores of the sum whose names begin with `before`."""
        if number == 0:
            return {**scores, f"{before}loss": scores[f"{before}{self.names[0]}_loss"]}
        start = f"{before}{self.names[number]}_"
        return {before + name.removeprefix(start): value for name, value in scores.items() if name.startswith(start)}

    def details(self, sums: NDArray[np.float64], baseline: NDArray[np.float64]) -> list[dict[str, Any]]:
        """Return the details of the objective."""
        return self._objective.details(self._sums(sums)[0], self._sums(baseline)[0])

    def headline(self, scores: Mapping[str, float]) -> str:
        """Return the headlines of all losses."""
        return ", ".join(loss.headline(self._scores_of(number, scores)) for number, loss in enumerate(self._each()))

    def column(self, scores: Mapping[str, float]) -> tuple[str, str]:
        """Return the objective's headline score for the table of epochs."""
        return self._objective.column(self._scores_of(0, scores))

    def example(self, age_unit: str) -> str:
        """Return the objective's example."""
        return self._objective.example(age_unit)

    def results(self, metrics: Mapping[str, Any]) -> str:
        """Return the results of each loss."""

        def of(number: int) -> dict[str, Any]:
            best, base = (
                self._scores_of(number, metrics["best"], "validation_"),
                self._scores_of(number, metrics["baseline"]),
            )
            return {**metrics, "best": best, "baseline": base}

        first, *others = [loss.results(of(number)) for number, loss in enumerate(self._each())]
        shown = [f"Beside it, {loss.task}. {text}" for loss, text in zip(self._each()[1:], others, strict=True)]
        terms = " + ".join(f"{weight:g} × {loss.task}" for weight, loss in zip(self.weights, self._each(), strict=True))
        return "\n\n".join([first, *shown, f"The losses below are those of the sum that was trained: {terms}."])


def _pieces(values: tuple[Any, ...], sizes: list[int]) -> list[tuple[Any, ...]]:
    """Divide values into pieces of these sizes."""
    ends = np.cumsum(sizes).tolist()
    return [values[end - size : end] for size, end in zip(sizes, ends, strict=True)]


def _joined(parts: list[Part]) -> Part:
    counts = tuple(part.count for part in parts)
    return Part(tuple(array for part in parts for array in part.arrays), sum(counts), counts)
