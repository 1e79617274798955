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

Concepts that belong to a disease, such as its complications, cannot be compared: hardly any similar patient has them. They are
tested in the patients of the disease alone, against permutations of each concept by itself (`OwnTraits`). But follow-up, severity,
and two codes or treatments of one condition make them depend on each other as well. So this test never shows subgroups; it shows
that the comparison, which does not see these concepts, cannot exclude them.

Axes: n patients, V concepts, T traits, D diseases.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ehr_pipeline.clusters.microaggregation import BLOCK_SIZE, centred, nearest_blocks, shuffled
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
PERSISTS_FROM = 0.2
"""Correlation of a concept with itself, between the halves of a record, from which the disease's patients have it lastingly."""
LEAST_DOUBTFUL_P = 0.95
"""If p is larger, traits are less strongly correlated than in the others: they differ in some other way, so p excludes nothing."""

Values = NDArray[np.float64]
Named = NDArray[np.object_]


@dataclass(frozen=True)
class OwnTraits:
    """Result of the test of traits that belong to a disease, among its patients alone."""

    traits: int
    """Number of traits tested, over all diseases."""
    p: float
    """p value of the hypothesis that they are independent of each other, given sex, age and the number of other concepts."""
    p_exclude: float
    """The same, if only pairs count that occur together less often than by chance. Severity and follow-up make no such pairs."""


@dataclass(frozen=True)
class TraitCorrelations:
    """Result of the test for correlated traits."""

    p: float | None
    """p value of the test; None if there are no similar patients, or too few patients, or no two traits to compare."""
    diseases: dict[str, float]
    """For each disease, the statistic minus its mean by chance, in standard deviations."""
    others: int
    """Number of patients without any of the diseases who were used for comparison."""
    own: OwnTraits | None = None
    """Result for traits that cannot be compared; None if no disease has two of them."""

    @property
    def is_significant(self) -> bool | None:
        """Return whether traits are more strongly correlated than in other patients; None if the comparison cannot tell."""
        if self.p is not None and self.p <= MAX_P:
            return True
        seen = self.p is not None and self.p <= LEAST_DOUBTFUL_P
        return False if seen and (self.own is None or self.own.p > MAX_P) else None

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
    sex: Named
    age: Values
    """Sex and mean age over the record (n,)."""
    practice: Named | None
    """Practice (n,); None if it is not known."""

    def among(self, kept: NDArray[np.bool_]) -> "Records":
        """Return the records of some of the patients, flagged in `kept` (n,)."""
        one, other = (half[kept] for half in self.halves)
        blocks = np.unique(self.blocks[kept], return_inverse=True)[1]
        practice = None if self.practice is None else self.practice[kept]
        return Records((one, other), self.diseases[kept], blocks, self.sex[kept], self.age[kept], practice)


def correlation_test(records: Records, *, permutations: int, seed: int) -> TraitCorrelations:
    """Test whether traits are more strongly correlated in patients of the diseases than in similar patients."""
    others = int((records.diseases == "").sum())
    records, belongs = _of_one_disease(records)
    own = _own_traits(records, belongs, permutations, seed)
    allowed = ~np.any([np.zeros(records.halves[0].shape[1], bool), *belongs.values()], axis=0)
    names, disease = np.unique(records.diseases, return_inverse=True)
    sides, compared = _comparisons(records, allowed)
    if not compared:
        return TraitCorrelations(None, {}, others, own)
    rng = np.random.default_rng([seed, 0x7A17])

    def measured(given: Labels) -> Values:
        return np.array([one.statistic(sides, np.flatnonzero(given == number)) for number, one in compared.items()])

    chance = np.array([measured(disease[shuffled(records.blocks, rng)]) for _ in range(permutations)])
    middle, spread = chance.mean(axis=0), np.maximum(chance.std(axis=0), 1e-12)
    deviates = (measured(disease) - middle) / spread
    p = _p(deviates.sum(), ((chance - middle) / spread).sum(axis=1))
    found = {str(names[number]): round(float(z), 2) for number, z in zip(compared, deviates, strict=True)}
    return TraitCorrelations(p, found, others, own)


def _p(observed: float, chance: Values) -> float:
    """Return the p value of a statistic from its values by chance (permutations,)."""
    return float((1 + (chance >= observed).sum()) / (1 + len(chance)))


def _of_one_disease(records: Records) -> tuple[Records, dict[str, NDArray[np.bool_]]]:
    """Leave out the patients who have a concept that belongs to a disease other than their own. Return the records of the rest, and
    for each disease flags (V,) of the concepts that belong to it."""
    has = _present(records.halves)
    found, apart = {}, np.zeros(len(records.diseases), bool)
    for name in np.unique(records.diseases[records.diseases != ""]):
        inside = records.diseases == name
        here, there = _shares(has, inside, records.blocks)
        belongs = found[str(name)] = (here > BELONGS_FROM * there) & (here >= FEWEST_CARRIERS)
        apart |= ~inside & (np.sum([half @ belongs.astype(float) for half in has], axis=0) > 0)
    return records.among(~apart), found


def _own_traits(
    records: Records, belongs: dict[str, NDArray[np.bool_]], permutations: int, seed: int
) -> OwnTraits | None:
    """Test the traits that belong to each disease (flags (V,)) among its patients.

    Patients are matched on practice, sex, age and number of other concepts. Matching on the number of all concepts would make the
    traits exclude each other, because they are part of it. Without practices, so would codes that practices choose between.
    """
    rng = np.random.default_rng([seed, 0x0437])
    traits, observed, chance = 0, np.zeros(2), np.zeros((permutations, 2))
    for name, flags in belongs.items():
        mine = records.among(records.diseases == name)
        has = _present(mine.halves)
        chosen = _persistent(has, _lasting(has, flags))
        if len(chosen) < 2 or len(mine.diseases) < FEWEST_PATIENTS:
            continue
        every = np.asarray((has[0] + has[1] > 0).sum(axis=1)).ravel()
        sides = [half[:, chosen].toarray() for half in has]
        amount = np.log1p(every - (sides[0] + sides[1] > 0).sum(axis=1))
        sex = np.unique(mine.sex, return_inverse=True)[1]
        where = sex * 0 if mine.practice is None else mine.practice
        blocks = nearest_blocks([where], [mine.age, amount, sex], 2 * BLOCK_SIZE)
        sides = [centred(side, blocks) for side in sides]
        drawn = np.array([_dependence(_each_shuffled(sides, blocks, rng)) for _ in range(permutations)])
        middle, spread = drawn.mean(axis=0), np.maximum(drawn.std(axis=0), 1e-12)
        observed, chance = observed + (_dependence(sides) - middle) / spread, chance + (drawn - middle) / spread
        traits += len(chosen)
    return OwnTraits(traits, _p(observed[0], chance[:, 0]), _p(observed[1], chance[:, 1])) if traits else None


def _persistent(has: list[csr_array], concepts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those of the `concepts` whose presence in one half is correlated with their presence in the other. The disease's own
    code is no trait: all patients have it, and whether it is in a half is a matter of chance."""
    one, other = (side - side.mean(axis=0) for side in (half[:, concepts].toarray() for half in has))
    itself = np.diag(_correlations(*_moments(one, other, np.ones(len(one)))))
    return concepts[itself >= PERSISTS_FROM]


def _dependence(sides: list[Values]) -> Values:
    """Return the sums of squares (2,) of the correlations between traits in one half (n, T) and in the other: of all, and of those
    below 0."""
    one, other = sides
    found = np.triu(_correlations(*_moments(one, other, np.ones(len(one)))), 1)
    return np.array([(found**2).sum(), (np.minimum(found, 0) ** 2).sum()])


def _each_shuffled(sides: list[Values], blocks: Labels, rng: np.random.Generator) -> list[Values]:
    """Permute each trait by itself within blocks, in both halves together."""
    orders = np.stack([shuffled(blocks, rng) for _ in range(sides[0].shape[1])], axis=1)
    return [np.take_along_axis(side, orders, axis=0) for side in sides]


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
            if enough.sum() > 1:
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
    inside_size = np.bincount(blocks, inside, len(size))
    both = ((inside_size > 0) & (inside_size < size))[blocks]
    others = (inside_size / np.maximum(size - inside_size, 1))[blocks]
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
