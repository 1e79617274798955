"""Test whether the clusters are meaningful, by two verdicts: patients differ persistently, and their traits are correlated.

*Patients differ persistently* is the split-half test. Each patient's visits are divided at random into two halves. One half is
embedded as if it were the whole record, and so gets a cluster. A naive Bayes classifier, trained on other patients, predicts this
cluster from the concepts of the other half alone, without ages. If patients differ, the classifier is right more often than by
chance. Chance is how often it is right when it predicts from the record of *another* patient of the same disease and sex, and of
similar age and number of recorded concepts. So differences that these attributes explain do not count, however well the clusters
can be reproduced. (Idea: data splitting after clustering, Neufeld et al. 2024, Biostatistics 25(1).) The test is repeated within
practices, and among patients whose records have similar dates. If little of the difference is left in a repeat, it is explained by
where, or when, the records were made.

Any chronic disease makes patients differ. Whether *their traits are correlated*, too, as in subgroups that have traits of their own
or along one gradient such as severity, is tested in `trait_correlations`.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.stats import binomtest
from scipy.stats import t as student
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.naive_bayes import MultinomialNB

from ehr_pipeline.clusters.assign import nearest_clustered, vote
from ehr_pipeline.clusters.covariates import Covariates
from ehr_pipeline.clusters.methods import Labels, Vectors
from ehr_pipeline.clusters.microaggregation import shuffled
from ehr_pipeline.clusters.trait_correlations import TraitCorrelations
from ehr_pipeline.embeddings.geometry import unit_length
from ehr_pipeline.tables import json_files

# Bounds of the excess over chance: below the first, no evidence; below the second, weak evidence. And the largest p.
NONE_BELOW, WEAK_BELOW, MAX_P = 0.05, 0.20, 0.05
FEWEST_PATIENTS = 50
FILE = "evidence.json"
FOLDS = 5
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Half:
    """One half of the record of each clustered patient."""

    vectors: Vectors
    """Vectors (n, D); zero for a patient without a pooled token in this half."""
    counts: csr_array
    """Number of visits (n, V) with each pooled concept."""
    there: NDArray[np.bool_]
    """Flags (n,) of the patients who have a vector for this half."""


@dataclass(frozen=True)
class Evidence:
    """Result of the split-half test, for the patients who have both halves and at least one similar patient."""

    recognised: float | None
    """Share of patients whose cluster is recognised from the other half of their record; None if too few could be tested."""
    expected: float | None
    """The chance level: share of patients whose cluster is recognised from the records of similar patients."""
    excess: float | None
    """(recognised - expected) / (1 - expected): 0 is chance, 1 is perfect."""
    p: float | None
    patients: int
    interval: Interval
    """The 95 % interval of the excess: see `excess_interval`."""
    per_cluster: dict[int, float | None]
    """Share recognised among the patients of each cluster (by its label, from 0)."""
    expected_per_cluster: dict[int, float | None]
    """The chance level of each cluster: the share recognised from the records of similar patients."""
    patients_per_cluster: dict[int, int]
    """Number of patients tested in each cluster."""
    interval_per_cluster: dict[int, Interval]
    """The 95 % interval of each cluster's excess."""
    balance: dict[str, float]
    """How closely the compared patients are matched on age and number of recorded concepts (`microaggregation.balance`)."""
    again: dict[str, dict[str, float]]
    """The repeats that also match the practice or the calendar time (`matching.PRACTICE`, `covariates.TIME`). `excess` is
    that of the repeat. `exchanged` is the excess if practices or times are permuted first: the effect of coarser matching alone."""

    @property
    def explained(self) -> list[str]:
        """Return the repeats (practice, time) that explain the result: those whose excess is below the bound with the true
        practices or times, but not with permuted ones."""
        return [name for name, repeat in self.again.items() if repeat["excess"] < NONE_BELOW <= repeat["exchanged"]]

    @property
    def persistent(self) -> bool | None:
        """Return whether patients differ persistently; None if it was not tested. They are not shown to if the interval of the
        excess includes 0 in the two decimals in which it is shown."""
        if self.excess is None or self.p is None:
            return None
        above_chance = self.interval is None or round(self.interval[0], 2) > 0
        return self.p <= MAX_P and self.excess >= NONE_BELOW and above_chance and not self.explained

    def verdict(self, traits: TraitCorrelations) -> str:
        """Return the verdict: 'weak' or 'clear' evidence that patients differ, if traits are correlated too; 'differ' if they are
        not shown to be; 'none'; 'untested'."""
        if not self.persistent:
            return "untested" if self.persistent is None else "none"
        if not traits.is_significant:
            return "differ"
        return "weak" if (self.excess or 0.0) < WEAK_BELOW else "clear"

    def as_dict(self, numbers: NDArray[np.int64], traits: TraitCorrelations) -> dict[str, Any]:
        """Return the result as a dictionary for JSON, with clusters identified by their `numbers` (clusters,)."""
        content = asdict(self)
        for name in ("per_cluster", "expected_per_cluster", "patients_per_cluster", "interval_per_cluster"):
            content[name] = {str(numbers[label]): share for label, share in content[name].items()}
        content["balance"] = {name: spread if np.isfinite(spread) else None for name, spread in self.balance.items()}
        verdicts = {"persistent": self.persistent, "together": traits.is_significant, "verdict": self.verdict(traits)}
        return content | verdicts | {"explained": self.explained, "traits": traits.as_dict()}


def read(folder: Path) -> dict[str, Any]:
    """Read the result of the tests (`Evidence.as_dict`) from the folder of a `clusters` artifact."""
    content: dict[str, Any] = json_files.read(folder / FILE)
    return content


@dataclass(frozen=True)
class Predictions:
    """The cluster of each half record of m patients, and the cluster predicted from the other half. Arrays are (m,)."""

    clusters: tuple[Labels, Labels]
    predicted: tuple[Labels, Labels]

    @classmethod
    def of(cls, votes: list[Labels], halves: tuple[Half, Half], both: NDArray[np.int64], seed: int) -> "Predictions":
        """Train the classifiers and predict. `votes` are the clusters of the halves of the patients `both` (m,)."""
        folds = KFold(FOLDS, shuffle=True, random_state=seed)
        predicted = [
            cross_val_predict(MultinomialNB(), other.counts[both], cluster, cv=folds)
            for cluster, other in zip(votes, halves[::-1], strict=True)
        ]
        return cls((votes[0], votes[1]), (predicted[0], predicted[1]))

    @property
    def hits(self) -> NDArray[np.float64]:
        """Return the share of each patient's two predictions that are right (m,)."""
        return self.exchanged(np.arange(len(self.clusters[0])))

    def exchanged(self, order: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the share of right predictions (m,) if each patient gets the predictions for another, given by index in `order`
        (m,)."""
        pairs = zip(self.clusters, self.predicted, strict=True)
        return np.asarray(np.mean([predicted[order] == cluster for cluster, predicted in pairs], axis=0), np.float64)

    def from_other_records(self, blocks: Labels) -> NDArray[np.float64]:
        """Return the mean share of right predictions (m,) from other records of the block; NaN for a patient alone in a block."""
        size, count = np.bincount(blocks), 1 + max(int(half.max()) for half in (*self.clusters, *self.predicted))
        shares = []
        for cluster, predicted in zip(self.clusters, self.predicted, strict=True):
            table = np.bincount(blocks * count + predicted, minlength=len(size) * count)
            others = table[blocks * count + cluster] - (predicted == cluster)
            shares.append(others / np.where(size[blocks] > 1, size[blocks] - 1, np.nan))
        return np.asarray(np.mean(shares, axis=0))

    def excess(self, blocks: Labels) -> float | None:
        """Return how much more often a patient's cluster is predicted from the patient's own record than from similar patients'
        records, as a share of the largest possible excess; None if too few patients can be compared."""
        chance = self.from_other_records(blocks)
        there = np.isfinite(chance)
        return _excess(self.hits[there].mean(), chance[there].mean()) if there.sum() >= FEWEST_PATIENTS else None


def split_half(
    predictions: Predictions, members: Labels, covariates: Covariates, *, permutations: int, seed: int
) -> Evidence:
    """Test the clusters `members` (m,) of m patients on the halves of their records, averaged over both directions."""
    clusters = range(int(members.max(initial=-1)) + 1)
    nothing: dict[int, float | None] = dict.fromkeys(clusters)
    blocks = covariates.blocks if len(members) else members
    there = np.bincount(blocks)[blocks] > 1
    patients = int(there.sum())
    if patients < FEWEST_PATIENTS:
        none = dict.fromkeys(clusters, 0), dict.fromkeys(clusters)
        return Evidence(None, None, None, None, patients, None, nothing, nothing, *none, {}, {})
    rng = np.random.default_rng([seed, 0x5911])
    hits, chance = predictions.hits[there], predictions.from_other_records(blocks)[there]
    recognised, expected = float(hits.mean()), float(chance.mean())
    drawn = [predictions.exchanged(shuffled(blocks, rng))[there].mean() for _ in range(permutations)]
    p = float((1 + (np.array(drawn) >= recognised).sum()) / (1 + permutations))
    by_cluster, by_chance = ({k: _mean(shares[members[there] == k]) for k in clusters} for shares in (hits, chance))
    again, exchanged = covariates.repeated_blocks(), covariates.exchanged(blocks, rng).repeated_blocks()
    compared = {name: (predictions.excess(again[name]), predictions.excess(exchanged[name])) for name in again}
    left = {
        name: {"excess": one, "exchanged": other}
        for name, (one, other) in compared.items()
        if one is not None and other is not None
    }
    excess, parts = _excess(recognised, expected), {k: members[there] == k for k in clusters}
    tested = {k: int(part.sum()) for k, part in parts.items()}
    between = {k: excess_interval(hits[part], chance[part]) for k, part in parts.items()}
    interval, balance = excess_interval(hits, chance), covariates.balance(blocks)
    return Evidence(
        recognised, expected, excess, p, patients, interval, by_cluster, by_chance, tested, between, balance, left
    )


def excess_interval(hits: NDArray[np.float64], chance: NDArray[np.float64]) -> Interval:
    """Return the 95 % interval of the excess from each patient's share of right predictions (m,) and chance (m,); None where
    undefined.

    Patients are the units. The excess is a ratio of means over patients, so its standard error is that of the mean residual (delta
    method: Cochran 1977, Sampling Techniques, section 6.4), with Student's t. If all patients are recognised, or none, the
    residuals do not vary; the interval then follows from Wilson's interval (1927) of the share recognised and from the mean chance.
    """
    patients, middle = len(hits), float(chance.mean()) if len(hits) else 1.0
    if patients < 2 or middle > 1 - 1e-9:
        return None
    if np.ptp(hits) == 0:
        ends = binomtest(round(hits.sum()), patients).proportion_ci(method="wilson")
        return _excess(float(ends.low), middle), _excess(float(ends.high), middle)
    excess = _excess(float(hits.mean()), middle)
    residual = hits - chance - excess * (1 - chance)
    error = float(residual.std(ddof=1) / np.sqrt(patients) / (1 - middle))
    width = float(student.ppf(0.975, patients - 1)) * error
    return excess - width, min(excess + width, 1.0)


def _excess(recognised: float, expected: float) -> float:
    return float((recognised - expected) / max(1 - expected, 1e-9))


def _mean(shares: NDArray[np.float64]) -> float | None:
    return float(shares.mean()) if len(shares) else None


def votes(vectors: Vectors, labels: Labels, halves: tuple[Half, Half], neighbours: int) -> tuple[Labels, list[Labels]]:
    """Return the patients with both halves (m,), and the cluster (m,) to which the nearest whole records assign each half."""
    both = np.flatnonzero(halves[0].there & halves[1].there)
    return both, [_assign(vectors, labels, half.vectors[both], both, neighbours) for half in halves]


def _assign(vectors: Vectors, labels: Labels, halves: Vectors, rows: NDArray[np.int64], neighbours: int) -> Labels:
    """Return the most frequent cluster among the whole records nearest to each half; a patient's own record does not vote."""
    nearest = nearest_clustered(halves, unit_length(vectors), rows, neighbours)
    return vote(nearest, labels, int(labels.max()) + 1)[0]
