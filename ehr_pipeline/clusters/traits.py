"""Do a disease's patients have traits that go together, and do so less in others? That is what makes a subgroup of the disease.

Patients differ persistently wherever anything is chronic: this alone makes no subgroup. And some traits go together in everybody:
obesity with diabetes, two codes of one diagnosis, whatever a busy practice records. So the patients of each disease are compared
with others of the same sex and of like age and amount of record, who have another of the diseases, or none of them. A trait is a
concept recorded at least once in half of the visits. The correlations between traits, one in either half, make a matrix for the
patients of the disease, and another for the others; the largest eigenvalue of their difference is large when several traits go
together in the disease alone. Chance is the same with diseases permuted among patients alike (a test of equal dependence, as in
Zhu et al. 2017, Annals of Applied Statistics 11(3): sparse leading eigenvalue of the difference of two covariance matrices).

Practices, calendar time and frailty act on both sides and cancel out, as long as they do not depend on the disease.

Axes: n patients, V concepts, T traits, D diseases.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ehr_pipeline.clusters.matching import Labels, centred, shuffled

TRAITS = 40
"""The most frequent concepts that are compared; rarer ones add more noise than knowledge."""
MAX_P = 0.02
"""Largest p at which traits go together: below 0.05, so that the verdict is wrong in clearly fewer than 5 % of cohorts."""
FEWEST_PATIENTS = 50
LIKE = 10.0
"""A trait that is so many times as frequent in a disease as in others alike, or as rare, belongs to it, and is left out."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Togetherness:
    """Result of the test."""

    p: float | None
    """None where there is nobody to compare with, or too few patients."""
    diseases: dict[str, float]
    """How far the largest eigenvalue of each disease lies above its mean by chance, in standard deviations."""
    others: int
    """Patients compared with who have none of the diseases."""

    @property
    def found(self) -> bool | None:
        """Whether the traits go together."""
        return None if self.p is None else self.p <= MAX_P

    def as_dict(self) -> dict[str, Any]:
        """Dictionary for JSON."""
        return asdict(self) | {"found": self.found}


@dataclass(frozen=True)
class Records:
    """Patients in whose records traits are compared; those of the cohort and others."""

    halves: tuple[csr_array, csr_array]
    """Visits (n, V) of each half with each concept."""
    diseases: NDArray[np.object_]
    """Disease (n,); '' for a patient with none of them."""
    blocks: Labels
    """Blocks (n,) of patients alike, whatever their disease."""


def together(records: Records, *, permutations: int, seed: int) -> Togetherness:
    """Test whether the traits of the diseases' patients go together more than those of others alike."""
    names, disease = np.unique(records.diseases, return_inverse=True)
    others = int((records.diseases == "").sum())
    tested = [
        number
        for number, name in enumerate(names)
        if name and _compared(disease == number, records.blocks)[0].sum() >= FEWEST_PATIENTS
    ]
    if not tested:
        return Togetherness(None, {}, others)
    present = [np.asarray(half[:, _frequent(records.halves)].toarray() > 0, np.float64) for half in records.halves]
    common = {number: _comparable(present, disease == number, records.blocks) for number in tested}
    sides = [_residuals(half, disease, records.blocks) for half in present]
    rng = np.random.default_rng([seed, 0x7A17])

    def leading(given: Labels) -> Values:
        return np.array([_leading(sides, given == number, records.blocks, common[number]) for number in tested])

    chance = np.array([leading(disease[shuffled(records.blocks, rng)]) for _ in range(permutations)])
    middle, spread = chance.mean(axis=0), np.maximum(chance.std(axis=0), 1e-12)
    deviates = (leading(disease) - middle) / spread
    by_chance = ((chance - middle) / spread).sum(axis=1)
    p = float((1 + (by_chance >= deviates.sum()).sum()) / (1 + permutations))
    found = {str(names[number]): round(float(z), 2) for number, z in zip(tested, deviates, strict=True)}
    return Togetherness(p, found, others)


def _frequent(halves: tuple[csr_array, csr_array]) -> NDArray[np.int64]:
    """The concepts that most halves of records hold, ascending."""
    count = np.sum([np.bincount(half.indices[half.data > 0], minlength=half.shape[1]) for half in halves], axis=0)
    order = np.argsort(-count, kind="stable")[:TRAITS]
    return np.sort(order[count[order] > 0])


def _compared(inside: NDArray[np.bool_], blocks: Labels) -> tuple[Values, Values]:
    """Weights (n,) of the patients of a disease, and of the others: in each block both sum to its patients of the disease."""
    size = np.bincount(blocks)
    own = np.bincount(blocks, inside, len(size))
    both = ((own > 0) & (own < size))[blocks]
    others = (own / np.maximum(size - own, 1))[blocks]
    return np.where(inside & both, 1.0, 0.0), np.where(~inside & both, others, 0.0)


def _comparable(present: list[Values], inside: NDArray[np.bool_], blocks: Labels) -> NDArray[np.bool_]:
    """Flags (T,) of the traits that are about as frequent in the patients of a disease as in others alike."""
    here, there = (np.sum([weights @ half for half in present], axis=0) for weights in _compared(inside, blocks))
    return np.asarray((here < LIKE * there) & (there < LIKE * here))


def _residuals(present: Values, disease: Labels, blocks: Labels) -> Values:
    """Traits (n, T) less what patients alike, and patients of the same disease, have on average."""
    left = centred(present, blocks)
    return centred(left, disease)


def _leading(sides: list[Values], inside: NDArray[np.bool_], blocks: Labels, traits: NDArray[np.bool_]) -> float:
    """Largest eigenvalue of the difference between the correlations of a disease's patients and of others alike."""
    if traits.sum() < 2:
        return 0.0
    here, there = (_correlations(sides, weights)[np.ix_(traits, traits)] for weights in _compared(inside, blocks))
    return float(np.linalg.eigvalsh(here - there)[-1])


def _correlations(sides: list[Values], weights: Values) -> Values:
    """Correlations (T, T) between traits in either half, symmetrised; 0 on the diagonal, which says that a trait persists."""
    some = weights > 0
    one, other = (side[some] * np.sqrt(weights[some])[:, None] for side in sides)
    spread = np.sqrt(((one**2).sum(axis=0) + (other**2).sum(axis=0)) / 2)
    spread[spread == 0] = 1
    products = one.T @ other
    found: Values = (products + products.T) / 2 / np.outer(spread, spread)
    np.fill_diagonal(found, 0)
    return found
