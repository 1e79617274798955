"""All measures of all pairs of concepts, from the records and from the encoder: how strongly two concepts are associated.

Axes: n concepts. A measure with a direction says how strongly the column's concept follows the row's concept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ehr_pipeline.relations import measures
from ehr_pipeline.relations.counting import Pairs
from ehr_pipeline.relations.measures import Direction, Ratio
from ehr_pipeline.relations.occurrences import Occurrences

Table = NDArray[np.float32]
VISIT, SIMILAR, AFTER = "jaccard_by_visit", "odds_ratio_of_patients_alike", "relative_risk_after"
PAIR, LIFT, COSINE = "model_pair", "model_lift", "model_cosine"


@dataclass(frozen=True)
class Measure:
    """One measure of all pairs (n, n)."""

    name: str
    value: Table
    patients: NDArray[np.int32]
    """Number of patients behind each value, at least."""
    directed: bool = False
    low: Table | None = None
    high: Table | None = None
    """The 95 % interval (`low`, `high`); None if the measure has none."""
    q: Table | None = None
    """False discovery rate over all pairs; None if the measure has no test."""

    @property
    def rank_by(self) -> Table:
        """The values by which partners are ranked: the lower end of the interval, so that rare pairs do not come first; or the
        value itself, for a measure without intervals."""
        return self.value if self.low is None else self.low

    @property
    def weights(self) -> Table:
        """A symmetric weight of each pair: the larger value of the two directions; NaN if it is unknown."""
        return np.fmax(self.rank_by, self.rank_by.T)


@dataclass(frozen=True)
class Evidence:
    """All measures, and the evidence for the order in which concepts occur."""

    measures: tuple[Measure, ...]
    comes_first: Direction
    direction_q: Table
    """False discovery rate (n, n) of the statement that the row's concept comes first."""
    patients: NDArray[np.int64]
    """Patients who have each concept (n,)."""
    after_others: NDArray[np.int32]
    """Patients in whom the column's concept followed a date matched with dates of the row's concept (n, n)."""

    def __getitem__(self, name: str) -> Measure:
        return next(measure for measure in self.measures if measure.name == name)


def counted(occurrences: Occurrences, pairs: Pairs) -> Evidence:
    """Return the measures from counts."""
    followed = pairs.risks.cases.astype(np.int32)
    order = measures.direction(pairs.risks.cases, pairs.risks.expected, pairs.risks.unrelated)
    together = [*_of_visits(occurrences), *_of_patients(occurrences, pairs)]
    after = _filled(pairs.risks.ratio(), _risk_of_few(pairs), pairs.risks.cases > 0)
    p = measures.two_sided(measures.calibrated(pairs.risks.deviate()))
    risk = Measure(AFTER, _small(after.value), followed, directed=True, **_interval(after), q=_of_all(p))
    others = pairs.risks.others.astype(np.int32)
    return Evidence((*together, risk), order, _of_all(order.p), occurrences.patients, others)


def of_model(both: NDArray[np.int32], pair: Table, lift: Table, cosine: Table) -> Iterator[Measure]:
    """Yield the measures from the encoder. A value is shown only if enough patients have both concepts."""
    yield Measure(PAIR, _off_diagonal(pair), both, directed=True)
    yield Measure(LIFT, _off_diagonal(lift), both, directed=True)
    yield Measure(COSINE, _off_diagonal(cosine), both)


def _of_visits(occurrences: Occurrences) -> Iterator[Measure]:
    both = occurrences.in_visits.astype(np.float64)
    one, other, total = both.diagonal()[:, None], both.diagonal()[None], float(occurrences.visits)
    people = occurrences.together
    yield Measure(VISIT, _small(measures.jaccard(both, one, other)), people)
    yield Measure("phi_by_visit", _small(measures.phi(both, one, other, total)), people)
    log, _ = measures.log_odds_ratio(both, one, other, total)
    yield Measure(
        "log_odds_by_visit", _small(log), people
    )  # a patient's visits are not independent, so there is no interval and no test


def _of_patients(occurrences: Occurrences, pairs: Pairs) -> Iterator[Measure]:
    both, has = pairs.both.astype(np.float64), occurrences.patients
    one, other, total = (
        has[:, None].astype(np.float64),
        has[None].astype(np.float64),
        int((occurrences.people.visits > 0).sum()),
    )
    yield Measure("jaccard_by_patient", _small(measures.jaccard(both, one, other)), pairs.both)
    yield Measure("phi_by_patient", _small(measures.phi(both, one, other, total)), pairs.both)
    log, variance = measures.log_odds_ratio(both, one, other, total)
    wide = measures.NORMAL * np.sqrt(variance)
    q = _of_pairs(measures.fisher(pairs.both, has[:, None], has[None], total))
    low, high = _small(log - wide), _small(log + wide)
    yield Measure("log_odds_by_patient", _small(log), pairs.both, low=low, high=high, q=q)
    alike = _filled(pairs.odds.ratio(), Ratio.of(log, variance), (one > 0) & (other > 0))
    q = _of_pairs(pairs.odds.tail())
    yield Measure(SIMILAR, _small(alike.value), pairs.both, **_interval(alike), q=q)


def _filled(ratio: Ratio, instead: Ratio, known: NDArray[np.bool_]) -> Ratio:
    """Fill gaps: a pair without a ratio over strata gets the ratio over all patients together (`instead`), with 0.5 added to each
    cell."""
    without = known & ~np.isfinite(ratio.low)
    names = ("value", "low", "high")
    return Ratio(*(np.where(without, getattr(instead, name), getattr(ratio, name)) for name in names))


def _risk_of_few(pairs: Pairs) -> Ratio:
    cases, expected = pairs.risks.cases + 0.5, pairs.risks.expected + 0.5
    return Ratio.of(np.log(cases / expected), 1 / cases + 1 / expected)


def _interval(ratio: Ratio) -> dict[str, Any]:
    return {"low": _small(ratio.low), "high": _small(ratio.high)}


def _small(values: NDArray[Any]) -> Table:
    return _off_diagonal(values.astype(np.float32))


def _off_diagonal(values: Table) -> Table:
    """Return the values with NaN on the diagonal."""
    copied = values.copy()
    np.fill_diagonal(copied, np.nan)
    return copied


def _of_all(p: NDArray[np.float64]) -> Table:
    """Return false discovery rates over all ordered pairs."""
    apart = p.copy()
    np.fill_diagonal(apart, np.nan)
    return measures.benjamini_hochberg(apart).astype(np.float32)


def _of_pairs(p: NDArray[np.float64]) -> Table:
    """Return false discovery rates over unordered pairs, each of which is tested once."""
    rows, columns = np.triu_indices(len(p), 1)
    rates = np.full(p.shape, np.nan, np.float32)
    rates[rows, columns] = rates[columns, rows] = measures.benjamini_hochberg(p[rows, columns])
    return rates
