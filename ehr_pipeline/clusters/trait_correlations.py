"""Test within a disease, for subgroups or one gradient: are traits more strongly correlated in its patients than in others?

Chronic conditions make patients differ persistently, which does not by itself make subgroups. Some traits are correlated in
everybody: obesity with diabetes, two codes of one diagnosis, concepts that a busy practice records. So the patients of each disease
are compared with others of the same sex, and of similar age and number of recorded concepts, who have another of the diseases or
none.

A trait is a concept recorded at least once in a half of the visits. The traits tested are the concepts that the most patients have
in both halves, beyond chance, except concepts that belong to a disease. Patients with a concept that belongs to a disease other
than their own are left out. In most people, such a concept is correlated with others, as eczema is with asthma. But patients chosen
for that disease all have the concept, so among them it is correlated with nothing, and the correlations of other patients would
seem stronger.

Correlations between a trait in one half and a trait in the other make one matrix for the patients of the disease, and one for the
others. In a subgroup several traits are more frequent, so they are correlated within the disease. The statistic is the sum of
squares of the positive differences between the matrices. Its distribution by chance comes from permuting diseases among similar
patients (a one-sided test of equal covariances by the sum of squared differences, as in Li & Chen 2012, Annals of Statistics
40(2)).

Practices, calendar time and frailty affect both matrices and cancel out, as long as they do not depend on the disease. A gradient
within the disease, such as its severity, correlates the traits that it makes more frequent; the test cannot tell it from subgroups.

Axes: n patients, V concepts, T traits, D diseases.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ehr_pipeline.clusters.microaggregation import centred, shuffled
from ehr_pipeline.embeddings.patient_blocks import Labels

TRAITS = 20
"""Number of traits: the most persistent concepts. More would add more noise than information."""
MAX_P = 0.02
"""Largest p at which traits count as correlated. It is below 0.05, so clearly fewer than 5 % of verdicts are wrong."""
FEWEST_PATIENTS = 50
FEWEST_CARRIERS = 10
"""A trait is tested only if at least this many patients of the disease, and of the similar patients, have it."""
BELONGS_FROM = 5.0
"""A concept belongs to a disease if it is this many times as frequent in its patients as in similar patients. A trait six times as
frequent in a third of a disease's patients is less than three times as frequent in all of them, so it does not belong to the
disease."""

Values = NDArray[np.float64]
Named = NDArray[np.object_]


@dataclass(frozen=True)
class TraitCorrelations:
    """Result of the test for correlated traits."""

    p: float | None
    """p value of the test; None if there are no similar patients, or too few patients."""
    diseases: dict[str, float]
    """For each disease, the statistic minus its mean by chance, in standard deviations."""
    others: int
    """Number of patients without any of the diseases who were used for comparison."""

    @property
    def is_significant(self) -> bool | None:
        """Return whether traits are more strongly correlated than in other patients; None if this was not tested."""
        return None if self.p is None else self.p <= MAX_P

    def as_dict(self) -> dict[str, Any]:
        """Return the result as a dictionary for JSON."""
        return asdict(self) | {"found": self.is_significant}


@dataclass(frozen=True)
class Records:
    """Patients whose traits are compared, both in the cohort and outside it."""

    halves: tuple[csr_array, csr_array]
    """Number of visits (n, V) with each concept, in each half."""
    diseases: Named
    """Disease (n,); '' for a patient with none of them."""
    blocks: Labels
    """Blocks (n,) of similar patients, whatever their disease."""


def correlation_test(records: Records, *, permutations: int, seed: int) -> TraitCorrelations:
    """Test whether traits are more strongly correlated in patients of the diseases than in similar patients."""
    others = int((records.diseases == "").sum())
    records, allowed = _of_one_disease(records)
    names, disease = np.unique(records.diseases, return_inverse=True)
    sides, compared = _comparisons(records, allowed)
    if not compared:
        return TraitCorrelations(None, {}, others)
    rng = np.random.default_rng([seed, 0x7A17])

    def measured(given: Labels) -> Values:
        return np.array([one.statistic(sides, np.flatnonzero(given == number)) for number, one in compared.items()])

    chance = np.array([measured(disease[shuffled(records.blocks, rng)]) for _ in range(permutations)])
    middle, spread = chance.mean(axis=0), np.maximum(chance.std(axis=0), 1e-12)
    deviates = (measured(disease) - middle) / spread
    by_chance = ((chance - middle) / spread).sum(axis=1)
    p = float((1 + (by_chance >= deviates.sum()).sum()) / (1 + permutations))
    found = {str(names[number]): round(float(z), 2) for number, z in zip(compared, deviates, strict=True)}
    return TraitCorrelations(p, found, others)


def _of_one_disease(records: Records) -> tuple[Records, NDArray[np.bool_]]:
    """Leave out the patients who have a concept that belongs to a disease other than their own. Return the records of the rest, and
    flags (V,) of the concepts that belong to no disease."""
    has = _present(records.halves)
    allowed, apart = np.ones(has[0].shape[1], bool), np.zeros(len(records.diseases), bool)
    for name in np.unique(records.diseases[records.diseases != ""]):
        inside = records.diseases == name
        here, there = _shares(has, inside, records.blocks)
        belongs = (here > BELONGS_FROM * there) & (here >= FEWEST_CARRIERS)
        allowed &= ~belongs
        apart |= ~inside & (np.sum([half @ belongs.astype(float) for half in has], axis=0) > 0)
    one, other = (half[~apart] for half in records.halves)
    blocks = np.unique(records.blocks[~apart], return_inverse=True)[1]
    return Records((one, other), records.diseases[~apart], blocks), allowed


def _comparisons(records: Records, allowed: NDArray[np.bool_]) -> tuple[list[Values], dict[int, "_Compared"]]:
    """Return the traits (n, T) in both halves, and the comparison for each disease, by the disease's index.

    From each trait, the mean of its block of similar patients is subtracted, and then the mean of its disease.
    """
    has, (names, disease) = _present(records.halves), np.unique(records.diseases, return_inverse=True)
    chosen = _lasting(has, allowed)
    sides = [centred(centred(half[:, chosen].toarray(), records.blocks), disease) for half in has]
    compared = {}
    for number in np.flatnonzero(names != "").tolist():
        mine, others = _weights(disease == number, records.blocks)
        if mine.sum() >= FEWEST_PATIENTS:
            enough = np.minimum(*_shares(has, disease == number, records.blocks))[chosen] >= FEWEST_CARRIERS
            compared[number] = _Compared.of(sides, enough, others)
    return sides, compared


def _present(halves: tuple[csr_array, csr_array]) -> list[csr_array]:
    """Return, for each half, a matrix (n, V) that is 1 where a patient has a concept in this half."""
    return [csr_array((half > 0).astype(np.float64)) for half in halves]


def _shares(has: list[csr_array], inside: NDArray[np.bool_], blocks: Labels) -> tuple[Values, Values]:
    """Return how many patients of a disease, and of equally many similar ones, have each concept (V,), averaged over halves."""
    mine, others = _weights(inside, blocks)
    here, there = (
        np.mean([half.T @ weights for half in has], axis=0) for weights in (mine, np.where(inside, 0, others))
    )
    return here, there


def _lasting(has: list[csr_array], allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return ids of the `allowed` concepts (V,) that most patients have in both halves, beyond chance, in ascending order."""
    one, other = has
    first, second, both = (np.asarray(some.sum(axis=0)).ravel() for some in (one, other, one.multiply(other)))
    beyond = np.where(allowed, both - first * second / max(one.shape[0], 1), 0)
    order = np.argsort(-beyond, kind="stable")[:TRAITS]
    return np.sort(order[beyond[order] > 0])


def _weights(inside: NDArray[np.bool_], blocks: Labels) -> tuple[Values, Values]:
    """Return the weight (n,) of each patient as a patient of the disease, and as one of the others. In each block, both kinds have
    the same sum of weights; in a block with only one kind, all weights are 0."""
    size = np.bincount(blocks)
    own = np.bincount(blocks, inside, len(size))
    both = ((own > 0) & (own < size))[blocks]
    others = (own / np.maximum(size - own, 1))[blocks]
    return np.where(both, 1.0, 0.0) * inside, np.where(both, others, 0.0)


@dataclass(frozen=True)
class _Compared:
    """A disease's patients and the similar patients to compare. Permutations within blocks do not change these values."""

    traits: NDArray[np.int64]
    """Indices of the traits that are compared."""
    there: NDArray[np.bool_]
    """Flags (n,) of the patients whose block has both patients of the disease and others."""
    weights: Values
    """Weight of each patient (n,) as one of the others."""
    everybody: tuple[Values, Values]
    """Moments of the traits over all patients, with these weights."""

    @classmethod
    def of(cls, sides: list[Values], enough: NDArray[np.bool_], weights: Values) -> "_Compared":
        """Make it from traits (n, T), flags (T,) of traits that enough patients have, and weights (n,) as one of the others."""
        traits = np.flatnonzero(enough)
        one, other = (side[:, traits] for side in sides)
        return cls(traits, weights > 0, weights, _moments(one, other, weights))

    def statistic(self, sides: list[Values], rows: Labels) -> float:
        """Return the sum of squares of the amounts by which correlations in the patients `rows` exceed those in all others."""
        rows = rows[self.there[rows]]
        one, other = (side[rows][:, self.traits] for side in sides)
        here = _moments(one, other, np.ones(len(rows)))
        mine = _moments(one, other, self.weights[rows])
        there = self.everybody[0] - mine[0], self.everybody[1] - mine[1]
        more = np.maximum(_correlations(*here) - _correlations(*there), 0)
        return float((np.triu(more, 1) ** 2).sum())


def _moments(one: Values, other: Values, weights: Values) -> tuple[Values, Values]:
    """Return sums of products (T, T) of a trait in one half and one in the other, made symmetric, and of squares (T,)."""
    products = (one * weights[:, None]).T @ other
    return (products + products.T) / 2, weights @ (one**2 + other**2) / 2


def _correlations(products: Values, squares: Values) -> Values:
    """Return correlations (T, T) from moments; 0 for a trait that nobody or everybody has."""
    spread = np.sqrt(np.where(squares > 1e-9, squares, np.inf))
    return np.asarray(products / np.outer(spread, spread), np.float64)
