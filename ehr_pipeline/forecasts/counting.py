"""Forecast without the encoder: by popularity for age and sex, and by the patient's own history (count and recency).

Both give the probability that a concept is recorded within a horizon, learned from cases of the training set. Popularity is
counted separately for concepts that a patient had before (recurring) and for new ones, each among the patients to whom this
applies. Axes: P cases, V token ids, S strata of sex and age, n pairs of a case and a concept in its history, F features.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.forecasts.cases import STRATA, Cases, History

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Floats = NDArray[np.float64]
PRIOR = 20.0
"""The overall rate counts as this many patients of each stratum, because most concepts are rare within a stratum."""
MOST_PAIRS = 200_000
"""Largest number of pairs on which weights are fitted."""
NEAREST = 1e-7
"""Probabilities are kept at least this far from 0 and 1 before taking log-odds."""


@dataclass(frozen=True)
class Rates:
    """By stratum and concept (S, V): patients at risk, and cases, that is, those of them who have the concept recorded within the
    horizon."""

    cases: NDArray[np.int32]
    at_risk: NDArray[np.int32]

    def rate(self) -> NDArray[np.float32]:
        """Return the smoothed rates (S, V): the overall rate counts as PRIOR patients (beta-binomial, posterior mean)."""
        return ((self.cases + PRIOR * self.overall) / (self.at_risk + PRIOR)).astype(np.float32)

    @property
    def overall(self) -> Floats:
        """Return the rates (V,) over all strata; for a concept that no patient had, the rate is below one in the number of patients
        at risk."""
        cases, at_risk = self.cases.sum(0), self.at_risk.sum(0)
        found: Floats = (cases + 0.01) / (at_risk + 1.0)
        return found

    def without(self, stratum: NDArray[np.integer], concept: NDArray[np.integer], case: NDArray[np.bool_]) -> Floats:
        """Return the rates (n,) for patients at risk, each without that patient, so that no feature contains its own answer."""
        cases, at_risk = self.cases[stratum, concept] - case, self.at_risk[stratum, concept] - 1
        found: Floats = (cases + PRIOR * self.overall[concept]) / (at_risk + PRIOR)
        return found


@dataclass(frozen=True)
class Weights:
    """A logistic regression: log-odds = constant + features · weights."""

    constant: float
    weights: tuple[float, ...]

    def log_odds(self, features: NDArray[Any]) -> Floats:
        """Return the log-odds (...,) of features (..., F)."""
        found: Floats = features @ np.array(self.weights) + self.constant
        return found


def fit(features: Floats, case: NDArray[np.bool_], weight: Floats | None = None) -> Weights:
    """Fit a logistic regression on features (n, F). Raises ValueError if all rows are cases, or none."""
    from sklearn.linear_model import LogisticRegression

    centre, spread = features.mean(0), np.maximum(features.std(0), 1e-9)
    model = LogisticRegression(C=1.0, max_iter=300).fit((features - centre) / spread, case, weight)
    weights = model.coef_[0] / spread
    return Weights(float(model.intercept_[0] - weights @ centre), tuple(map(float, weights)))


@dataclass(frozen=True)
class Counting:
    """The counted rates and fitted weights for one horizon."""

    new: Rates
    recurring: Rates
    history: Weights
    """Weights of `features_of`, for forecasts from the patient's own history alone."""
    both: Weights
    """Weights of the same features and of the log-odds of popularity."""


def count(cases: Cases, horizon: str, rows: NDArray[np.integer], seed: int) -> Counting | None:
    """Count on some cases (`rows`); None if no concept of their histories, or every one, is recorded again."""
    from scipy.sparse import csr_array

    some = cases.take(rows)
    targets, size = some.targets[horizon], some.targets[horizon].shape[1]
    had = some.history.matrix(size)
    strata = csr_array((np.ones(len(some), np.int32), (some.stratum, np.arange(len(some)))), shape=(STRATA, len(some)))
    again = csr_array(targets.multiply(had))
    with_it, recurring = (_dense(strata @ each.astype(np.int32)) for each in (had, again))
    people = np.bincount(some.stratum, minlength=STRATA).astype(np.int32)[:, None]
    rates = Rates(_dense(strata @ targets.astype(np.int32)) - recurring, people - with_it), Rates(recurring, with_it)
    own = some.history
    case = _at(again, own.owner, own.concept)
    if not 0 < case.sum() < len(case):
        return None
    rng = np.random.default_rng([seed, 0xC0])
    pair = np.sort(rng.permutation(len(case))[:MOST_PAIRS])
    owner, concept = own.owner[pair], own.concept[pair]
    popularity = log_odds(rates[1].without(some.stratum[owner], concept, case[pair]))
    features = features_of(own)[pair]
    return Counting(*rates, fit(features, case[pair]), fit(np.column_stack([features, popularity]), case[pair]))


def features_of(history: History) -> Floats:
    """Return features of each pair (n, F): how often, how recently and how regularly it was recorded, and how overdue it is."""
    visits, recent = history.visits.astype(float), history.recent.astype(float)
    since, span = history.since.astype(float), (history.first - history.since).astype(float)
    gap = (span + 30) / np.maximum(visits - 1, 0.5)
    late = np.log1p(since)
    return np.column_stack(
        [
            np.log1p(visits),
            np.log1p(recent),
            late,
            late**2,
            (since == 0).astype(float),
            (visits == 1).astype(float),
            np.log(gap),
            np.log((since + 7) / gap),
            np.log1p(visits) * late,
        ]
    )


def log_odds(probability: NDArray[Any]) -> Floats:
    """Return the log-odds of probabilities, which are first clipped away from 0 and 1."""
    from scipy.special import logit

    found: Floats = logit(np.clip(probability, NEAREST, 1 - NEAREST))
    return found


@dataclass(frozen=True)
class CountForecasts:
    """Forecasts of some cases by counting, as probabilities (B, V)."""

    had: NDArray[np.bool_]
    popularity: NDArray[np.float32]
    history: NDArray[np.float32]
    """Ranks concepts in the history by the patient's own history; all others rank below them, by popularity."""
    both: NDArray[np.float32]


@dataclass(frozen=True)
class Tables:
    """The rates (S, V) of a horizon, precomputed for forecasts, with the weights."""

    new: NDArray[np.float32]
    recurring: NDArray[np.float32]
    known: NDArray[np.float32]
    """How often each concept was seen in training (V,): log(1 + number of training cases that had it)."""
    history: Weights
    both: Weights

    @classmethod
    def of(cls, counting: Counting) -> "Tables":
        """Precompute the tables from counted rates and weights."""
        known = np.log1p(counting.recurring.at_risk.sum(0)).astype(np.float32)
        return cls(counting.new.rate(), counting.recurring.rate(), known, counting.history, counting.both)

    def forecast(self, stratum: NDArray[np.integer], history: History) -> CountForecasts:
        """Forecast cases, given by their strata (B,) and histories, by counting."""
        from scipy.special import expit

        had = history.matrix(self.new.shape[1]).toarray()
        popularity = np.where(had, self.recurring[stratum], self.new[stratum])
        owner, features = history.owner, features_of(history)
        own, both = popularity * np.float32(NEAREST), popularity.copy()
        own[owner, history.concept] = expit(self.history.log_odds(features))
        usual = log_odds(self.recurring[stratum[owner], history.concept])
        both[owner, history.concept] = expit(self.both.log_odds(np.column_stack([features, usual])))
        return CountForecasts(had, popularity, own, both)


def _dense(matrix: Any) -> NDArray[np.int32]:
    return np.asarray(matrix.toarray(), np.int32)


def _at(matrix: "csr_array", row: NDArray[np.integer], column: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return whether each pair (n,) is set in a matrix of flags."""
    width = matrix.shape[1]
    present = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr)).astype(np.int64) * width + matrix.indices
    return np.isin(row.astype(np.int64) * width + column, present[matrix.data])
