"""Forecast which concepts may follow given histories, typed in or made up. Axes: B histories, V token ids."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ehr_pipeline.embeddings.embedding_job import Inference
from ehr_pipeline.encoder import checkpoint
from ehr_pipeline.encoder.model import PackedEncoder
from ehr_pipeline.forecasts import cases
from ehr_pipeline.forecasts.build import query_days
from ehr_pipeline.forecasts.metrics import NEW, RECURRING
from ehr_pipeline.forecasts.scores import ENCODER, FORECAST, POPULARITY, by_model, encoder_probability
from ehr_pipeline.forecasts.table import SavedCounting
from ehr_pipeline.patients.shard import DAYS_IN_YEAR, Shard, starts_of
from ehr_pipeline.predictions.query_at_mask import answers
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT, Vocabulary

USUAL_GAP = 60
"""Days to the next visit if no usual gap was counted."""
_AT_ONCE = 100


@dataclass(frozen=True)
class Likely:
    """A concept that may follow."""

    token: int
    probability: float
    """Probability that it is recorded within the horizon; without counted rates, its share of all concepts at that age."""
    popularity: float | None
    """Rate within the horizon among people of the same sex and age band for whom the concept is also new, or also recurring."""


@dataclass(frozen=True)
class Answer:
    """Concepts that may follow one history, the most likely first."""

    new: tuple[Likely, ...]
    recurring: tuple[Likely, ...]
    usual_new: tuple[int, ...]
    """New concepts by popularity alone, the most popular first; empty without counted rates."""
    usual_recurring: tuple[int, ...]

    def of(self, name: str) -> tuple[Likely, ...]:
        """Return the forecasts of a list, given by name (NEW, RECURRING)."""
        return {NEW: self.new, RECURRING: self.recurring}[name]

    def usual(self, name: str) -> tuple[int, ...]:
        """Return the list of this name by popularity alone."""
        return {NEW: self.usual_new, RECURRING: self.usual_recurring}[name]


@dataclass(frozen=True)
class Forecaster:
    """An encoder with counted rates, ready to forecast."""

    model: PackedEncoder
    vocabulary: Vocabulary
    """The part of the vocabulary that the encoder knows."""
    counted: SavedCounting | None
    how: Inference
    tokens_before: int

    @classmethod
    def open(
        cls, folder: Path, vocabulary: Path, counted: SavedCounting | None, how: Inference, tokens_before: int
    ) -> "Forecaster":
        """Load the checkpoint in a folder. Raises UserError."""
        whole = Vocabulary.read(vocabulary)
        model = checkpoint.load(folder, whole, torch.device("cpu"))
        return cls(model, whole.first(model.stock.config.vocab_size), counted, how, tokens_before)

    def calibrated(self, horizon: str) -> bool:
        """Return whether probabilities are calibrated (chance of being recorded), and popularity is available for comparison."""
        return self.counted is not None and horizon in self.counted.mixed

    def forecast(
        self, histories: Shard, female: NDArray[np.bool_], horizon: str, shown: NDArray[np.bool_], most: int = 10
    ) -> list[Answer]:
        """Forecast what follows the last day of each history, among the concepts that may be `shown` (V,)."""
        found: list[Answer] = []
        for start in range(0, len(female), _AT_ONCE):
            rows = np.arange(start, min(start + _AT_ONCE, len(female)))
            found += self._some(histories.take(rows), female[rows], horizon, shown, most)
        return found

    def _some(
        self, histories: Shard, female: NDArray[np.bool_], horizon: str, shown: NDArray[np.bool_], most: int
    ) -> Iterator[Answer]:
        index = histories.visit_day[histories.patient_start[1:] - 1].astype(np.int64)
        gap = self.counted.gap_days if self.counted else USUAL_GAP
        state, _ = answers(self.model, histories, query_days(index, gap)[horizon], self.how, self.tokens_before)
        probability = encoder_probability(self.model, state)
        history = cases.history(histories, index, self.vocabulary.size)
        had, popularity = history.matrix(self.vocabulary.size).toarray(), None
        if self.counted is not None and horizon in self.counted.tables:
            stratum = cases.stratum((index - histories.birth_day) / DAYS_IN_YEAR, female)
            mixed = self.counted.mixed.get(horizon)
            had, scores = by_model(self.counted.tables[horizon], mixed, probability, stratum, history)
            probability, popularity = scores.get(FORECAST, scores[ENCODER]), scores[POPULARITY]
        for row in range(len(index)):
            usual = None if popularity is None else popularity[row]
            lists = [_likely(probability[row], usual, (had[row] == again) & shown, most) for again in (False, True)]
            named = [
                () if usual is None else _highest(usual, (had[row] == again) & shown, most) for again in (False, True)
            ]
            yield Answer(lists[0], lists[1], named[0], named[1])


def _likely(
    probability: NDArray[np.float32], popularity: NDArray[np.float32] | None, allowed: NDArray[np.bool_], most: int
) -> tuple[Likely, ...]:
    return tuple(
        Likely(token, float(probability[token]), None if popularity is None else float(popularity[token]))
        for token in _highest(probability, allowed, most)
    )


def _highest(scores: NDArray[np.float32], allowed: NDArray[np.bool_], most: int) -> tuple[int, ...]:
    tokens = np.flatnonzero(allowed)
    tokens = tokens[tokens >= FIRST_CONCEPT]
    return tuple(tokens[np.argsort(-scores[tokens], kind="stable")[:most]].tolist())


def shard_of(visits: list[tuple[int, list[int]]], birth: int) -> Shard:
    """Return one history as a shard: its days with token ids, in order of days, and the day of birth."""
    sizes: Any = [len(tokens) for _, tokens in visits]
    return Shard(
        np.array([token for _, tokens in visits for token in tokens], np.int32),
        starts_of(sizes),
        np.array([day for day, _ in visits], np.int32),
        np.array([0, len(visits)], np.int32),
        np.array([birth], np.int32),
        np.zeros(1, bool),
    )
