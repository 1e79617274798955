"""A throw-away objective: all that a new one needs is a class as this one and a line in the table."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ehr_pipeline.encoder import optimizer, train
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.encoder.objectives import OBJECTIVES
from ehr_pipeline.encoder.objectives.base import Draws, Objective, Part
from ehr_pipeline.encoder.packing import Batch
from ehr_pipeline.encoder.settings import EncoderSettings
from ehr_pipeline.vocabulary.table import Vocabulary
from ehr_pipeline_tests.encoder.data import learnable
from ehr_pipeline_tests.encoder.test_train import SETTINGS, job, weights


class GroupOfNeighbours(Objective):
    """Say from a hidden token's context to which of four groups of concepts it belongs, by a head of its own."""

    detail = "by_group"
    pipeline_tag = "token-classification"
    tag = "group"
    task = "telling groups"
    answers = "a group"

    def __init__(self, settings: EncoderSettings, vocabulary: Vocabulary):
        super().__init__()
        self.head = nn.Linear(settings.hidden_size, 4)

    def draw(self, shape: tuple[int, int], rng: np.random.Generator) -> Draws:
        return (rng.random(shape) < 0.2,)

    def prepare(self, batch: Batch, draws: Draws) -> Part:
        hidden = draws[0] & (batch.segments_RT > 0)
        groups = (batch.tokens_RT[hidden] - 5) // 10
        inputs = np.where(hidden, 1, batch.tokens_RT)
        arrays = (inputs, batch.positions_RT, batch.segments_RT, np.flatnonzero(hidden), groups)
        return Part(arrays, len(groups))

    def forward(self, encoder: PackedEncoder, *arrays: Tensor) -> Tensor:
        *rows, groups = arrays
        return nn.functional.cross_entropy(self.head(encoder.layers(*rows)), groups, reduction="sum")

    def no_sums(self) -> NDArray[np.float64]:
        return np.zeros((3, 4))

    def score(self, encoder: PackedEncoder, sums: Tensor, *arrays: Tensor) -> None:
        *rows, groups = arrays
        logits = self.head(encoder.hidden(*rows)).float()
        losses = nn.functional.cross_entropy(logits, groups, reduction="none")
        sums.index_add_(1, groups, torch.stack([losses, logits.argmax(1) == groups, losses**0]).double())

    def baseline(self, parts: Iterable[Part], training_counts: NDArray[np.int64]) -> NDArray[np.float64]:
        asked = sum((np.bincount(part.arrays[-1], minlength=4) for part in parts), np.zeros(4))
        return np.stack([np.log(4) * asked, asked / 4, asked])

    def scores(self, sums: NDArray[np.float64]) -> dict[str, float]:
        loss, right, asked = sums.sum(1)
        return {"loss": float(loss / asked), "right": float(right / asked), "asked": int(asked)}

    def details(self, sums: NDArray[np.float64], baseline: NDArray[np.float64]) -> list[dict[str, Any]]:
        return [{"group": number, "asked": int(asked)} for number, asked in enumerate(sums[2])]

    def headline(self, scores: Mapping[str, float]) -> str:
        return f"right {scores['right']:.2f}"

    def column(self, scores: Mapping[str, float]) -> tuple[str, str]:
        return "Right", f"{scores['right']:.0%}"

    def example(self, age_unit: str) -> str:
        return "Ask for a group."

    def results(self, metrics: Mapping[str, Any]) -> str:
        return f"{metrics['best']['validation_right']:.0%} of the groups are right."


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return learnable(tmp_path_factory.mktemp("data"))


@pytest.fixture
def _grouping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OBJECTIVES, "masked", GroupOfNeighbours)


@pytest.mark.usefixtures("_grouping")
def test_a_training_takes_losses_scores_and_words_from_its_objective(
    data: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "ehr_pipeline"):
        train.run(job(tmp_path, data, replace(SETTINGS, max_epochs=4)))
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["baseline"] == {
        "loss": pytest.approx(np.log(4)),
        "right": 0.25,
        "asked": metrics["baseline"]["asked"],
    }
    assert metrics["best"]["validation_right"] > 0.8
    assert metrics["best"]["validation_asked"] == metrics["baseline"]["asked"]
    assert sum(row["asked"] for row in metrics["by_group"]) == metrics["baseline"]["asked"]
    card = (tmp_path / "out" / "checkpoint" / "README.md").read_text()
    for words in (
        "tags: [ehr, group]",
        "trained from scratch by telling groups",
        "of the groups are right.",
        "| Right |",
    ):
        assert words in card
    assert ", right " in caplog.text
    assert not any("head" in name for name in weights(tmp_path / "out") if "lm_head" not in name), "its head stays here"


@pytest.mark.usefixtures("_grouping")
def test_parameters_of_an_objective_are_trained_and_resumed(
    data: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SETTINGS, max_epochs=2, checkpoint_seconds=0, dropout=0.1)
    train.run(job(tmp_path / "whole", data, settings))
    again, step, done = job(tmp_path / "again", data, settings), optimizer.step, []

    def interrupted(*given: Any) -> optimizer.UpdateResult:
        done.append(step(*given))
        if len(done) == 10:
            raise KeyboardInterrupt
        return done[-1]

    monkeypatch.setattr(optimizer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train.run(again)
    monkeypatch.setattr(optimizer, "step", step)
    train.run(again)
    one, two = (weights(tmp_path / name / "out") for name in ("whole", "again"))
    assert all(torch.equal(one[name], two[name]) for name in one)
