"""Compute the scores by which each model ranks concepts. Axes: B cases of a block, V token ids, D hidden size."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.forecasts.cases import TUNE, Cases, History
from ehr_pipeline.forecasts.counting import CountForecasts, Tables, Weights, fit, log_odds
from ehr_pipeline.vocabulary.table import FIRST_CONCEPT

if TYPE_CHECKING:
    from torch import Tensor

    from ehr_pipeline.encoder.model import PackedEncoder

Floats = NDArray[np.float64]
POPULARITY, HISTORY, COUNTING, ENCODER, FORECAST = "popularity", "history", "counting", "encoder", "forecast"
BASELINES = (POPULARITY, HISTORY, COUNTING)
"""Popularity by age and sex; the patient's own history by count and recency; both. FORECAST adds the encoder to both."""
NEGATIVES = 200
"""Number of unrecorded new concepts of each case on which weights are fitted, in addition to the recorded ones."""
FEWEST_CASES, FEWEST_RECORDED = 50, 100
"""Weights are fitted only with at least this many validation cases, and at least this many concepts recorded for them."""
_AT_ONCE = 8_000_000


@dataclass(frozen=True)
class Mixed:
    """Combines encoder and counting by a logistic regression on `features_of`, one for new and one for recurring concepts.

    It is fitted on the validation set, on which the encoder was not trained, so its probabilities are also calibrated.
    """

    new: Weights
    recurring: Weights

    def probability(
        self, encoder: NDArray[np.float32], counted: CountForecasts, known: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return probabilities (B, V) from those by the encoder (B, V) and by counting, and from how often each concept was seen in
        training (`known`, (V,))."""
        from scipy.special import expit

        parts = features_of(encoder, counted.both, known)
        odds = []
        for each in (self.new, self.recurring):
            odds.append(sum((w * x for w, x in zip(each.weights, parts, strict=True)), np.float32(each.constant)))
        found: NDArray[np.float32] = expit(np.where(counted.had, odds[1], odds[0])).astype(np.float32)
        return found


def features_of(
    encoder: NDArray[np.float32], counting: NDArray[np.float32], known: NDArray[np.float32]
) -> tuple[NDArray[np.float32], ...]:
    """Return the features: the log-odds of encoder and counting, how often the concept was seen in training, and its products with
    both log-odds, which are needed because the encoder has learned little about rare concepts."""
    one, other = (log_odds(each).astype(np.float32) for each in (encoder, counting))
    return one, other, known, known * one, known * other


def encoder_probability(model: "PackedEncoder", states_BD: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability (B, V) of each concept at the mask; special tokens have probability 0."""
    import torch

    from ehr_pipeline.predictions.query_at_mask import logits

    device = next(model.parameters()).device
    scores: Tensor = logits(model, torch.from_numpy(states_BD).to(device), "float32")
    scores[:, :FIRST_CONCEPT] = -torch.inf
    return scores.softmax(1).cpu().numpy()


def by_model(
    tables: Tables, mixed: Mixed | None, encoder: NDArray[np.float32], stratum: NDArray[np.integer], history: History
) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.float32]]]:
    """Return whether each case had each concept, and the scores of all models (B, V)."""
    counted = tables.forecast(stratum, history)
    scores = {POPULARITY: counted.popularity, HISTORY: counted.history, COUNTING: counted.both, ENCODER: encoder}
    if mixed is not None:
        scores[FORECAST] = mixed.probability(encoder, counted, tables.known)
    for each in scores.values():
        each[:, :FIRST_CONCEPT] = 0
    return counted.had, scores


def blocks(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows in blocks small enough to bound memory."""
    step = max(_AT_ONCE // size, 1)
    for start in range(0, len(rows), step):
        yield rows[start : start + step]


@dataclass(frozen=True)
class EncoderStates:
    """The encoder's distinct states (q, D) for a horizon, and the index (P,) of each case's state among them."""

    model: "PackedEncoder"
    states: NDArray[np.float32]
    place: NDArray[np.int64]

    def probability(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the encoder's probabilities (B, V) for some cases."""
        return encoder_probability(self.model, self.states[self.place[rows]])


def mix(cases: Cases, horizon: str, asked: EncoderStates, tables: Tables, seed: int) -> Mixed | None:
    """Fit the combination of encoder and counting in the validation set; None if this set has too few cases."""
    rows = cases.on(TUNE, horizon)
    size = cases.targets[horizon].shape[1]
    rng = np.random.default_rng([seed, 0x31])
    parts: dict[bool, list[tuple[Floats, NDArray[np.bool_], Floats]]] = {False: [], True: []}
    for block in blocks(rows, size):
        some = cases.take(block)
        counted, truth = tables.forecast(some.stratum, some.history), some.targets[horizon].toarray()
        encoder = asked.probability(block)
        for again in (False, True):
            row, concept, weight = _pairs(counted.had == again, truth, None if again else NEGATIVES, rng)
            own = features_of(encoder[row, concept], counted.both[row, concept], tables.known[concept])
            parts[again].append((np.column_stack(own).astype(float), truth[row, concept], weight))
    found = []
    for again in (False, True):
        joined = [np.concatenate(columns) for columns in zip(*parts[again], strict=True)] if parts[again] else []
        if len(rows) < FEWEST_CASES or joined[1].sum() < FEWEST_RECORDED or joined[1].all():
            return None
        found.append(fit(*joined))
    return Mixed(*found)


def _pairs(
    candidate: NDArray[np.bool_], truth: NDArray[np.bool_], most: int | None, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return pairs of a case and a candidate concept, with weights: all recorded ones, and about `most` others of each case, drawn
    at random and weighted to stand for all others."""
    candidate = candidate.copy()
    candidate[:, :FIRST_CONCEPT] = False
    others = candidate & ~truth
    share = 1.0
    if most is not None:
        share = min(1.0, most * len(others) / max(int(others.sum()), 1))
        others &= rng.random(others.shape, np.float32) < share
    row, concept = np.nonzero((candidate & truth) | others)
    return row, concept, np.where(truth[row, concept], 1.0, 1 / share)
