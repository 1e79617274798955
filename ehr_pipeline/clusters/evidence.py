"""Do the clusters mean anything? The split-half test.

Each patient's visits are divided at random into two halves, and each half is embedded as if it were the whole record. If there
are subgroups, both halves of a patient fall into the same cluster. By chance alone they do so as often as the halves of two
different patients who are alike in disease, age, sex and amount of record: that is the permutation reference. So what age,
sex, disease or the amount of recording explains is not counted as evidence. (Idea: data splitting after clustering, Neufeld
et al. 2024, Biostatistics 25(1).)
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from ehr_pipeline.clusters.methods import Labels, Vectors, unit_length

# Share of the possible excess over chance: below the first, no evidence; below the second, weak evidence.
NONE_BELOW, WEAK_BELOW, MAX_P = 0.05, 0.20, 0.05
BANDS = 5


@dataclass(frozen=True)
class Evidence:
    """Result of the test."""

    agreement: float | None
    """Share of patients whose halves fall into one cluster; null when too few patients have both halves."""
    expected: float | None
    """The same for halves of different but similar patients, mean over permutations."""
    excess: float | None
    """(agreement - expected) / (1 - expected): 0 is chance, 1 is perfect."""
    p: float | None
    patients: int
    verdict: str
    """'none', 'weak', 'clear', or 'untested'."""
    per_cluster: dict[int, float | None]
    """Agreement among the patients of each cluster (by its number, from 0)."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def split_half(
    vectors: Vectors,
    labels: Labels,
    half_a: Vectors,
    half_b: Vectors,
    both: NDArray[np.bool_],
    strata: Labels,
    neighbours: int,
    permutations: int,
    seed: int,
) -> Evidence:
    """Test clusters of whole records (`vectors` (n, D), `labels` (n,)) on the halves of the same patients (n, D).

    `both` flags patients with two halves; `strata` (n,) numbers groups of similar patients.
    """
    index = np.flatnonzero(both)
    if len(index) < 20:
        return Evidence(None, None, None, None, len(index), "untested", dict.fromkeys(range(int(labels.max()) + 1)))
    first = _assign(vectors, labels, half_a[index], index, neighbours)
    second = _assign(vectors, labels, half_b[index], index, neighbours)
    same = first == second
    rng = np.random.default_rng([seed, 0x5911])
    chance = np.array([(first == second[_shuffle_within(strata[index], rng)]).mean() for _ in range(permutations)])
    agreement, expected = float(same.mean()), float(chance.mean())
    p = float((1 + (chance >= agreement).sum()) / (1 + permutations))
    excess = (agreement - expected) / max(1 - expected, 1e-9)
    verdict = "none" if p > MAX_P or excess < NONE_BELOW else "weak" if excess < WEAK_BELOW else "clear"
    members = labels[index]
    per_cluster = {
        number: float(same[members == number].mean()) if (members == number).any() else None
        for number in range(int(labels.max()) + 1)
    }
    return Evidence(agreement, expected, excess, p, len(index), verdict, per_cluster)


def strata_of(*columns: NDArray[Any]) -> Labels:
    """Numbers of the combinations of columns (n,); numeric columns are cut into five bands of equal size first."""
    coded = []
    for column in columns:
        if np.issubdtype(column.dtype, np.number):
            edges = np.quantile(column, np.linspace(0, 1, BANDS + 1)[1:-1])
            coded.append(np.searchsorted(edges, column, side="right"))
        else:
            coded.append(np.unique(column, return_inverse=True)[1])
    numbers: Labels = np.unique(np.stack(coded), axis=1, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return numbers


def _assign(vectors: Vectors, labels: Labels, halves: Vectors, own: NDArray[np.int64], neighbours: int) -> Labels:
    """The cluster of most of the nearest whole records; a patient's own record does not vote."""
    count = min(neighbours, len(vectors) - 1)
    found = (
        NearestNeighbors(n_neighbors=count + 1)
        .fit(unit_length(vectors))
        .kneighbors(unit_length(halves), return_distance=False)
    )
    votes = np.zeros((len(halves), int(labels.max()) + 1))
    others = found != own[:, None]
    others &= np.cumsum(others, axis=1) <= count
    np.add.at(votes, (np.nonzero(others)[0], labels[found[others]]), 1)
    assigned: Labels = votes.argmax(1)
    return assigned


def _shuffle_within(strata: Labels, rng: np.random.Generator) -> NDArray[np.int64]:
    """A permutation (n,) that moves nobody out of their stratum."""
    order = np.lexsort((rng.random(len(strata)), strata))
    grouped = np.argsort(strata, kind="stable")
    permutation = np.empty(len(strata), np.int64)
    permutation[grouped] = order
    return permutation
