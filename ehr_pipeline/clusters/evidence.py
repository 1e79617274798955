"""Do the clusters mean anything? The split-half test.

Each patient's visits are divided at random into two halves. One half is embedded as if it were the whole record, and thus gets a
cluster. A naive Bayes classifier, trained on other patients, predicts this cluster from the concepts of the other half alone,
without ages. If there are subgroups, it is right more often than by chance. Chance means its predictions for other patients of
similar disease, sex, age and amount of record: what these explain does not count as evidence, however well the clusters can be
reproduced. (Idea: data splitting after clustering, Neufeld et al. 2024, Biostatistics 25(1).)
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.naive_bayes import MultinomialNB

from ehr_pipeline.clusters.assign import nearest_others, vote
from ehr_pipeline.clusters.methods import Labels, Vectors
from ehr_pipeline.embeddings.geometry import unit_length

# Share of the possible excess over chance: below the first, no evidence; below the second, weak evidence.
NONE_BELOW, WEAK_BELOW, MAX_P = 0.05, 0.20, 0.05
FEWEST_PATIENTS = 50
FILE = "evidence.json"
FOLDS = 5
ALIKE = 20  # largest number of patients in a block of similar ones


@dataclass(frozen=True)
class Half:
    """One half of the records of all clustered patients."""

    vectors: Vectors
    """Vectors (n, D); zero for a patient without a chosen token in this half."""
    counts: csr_array
    """Number of visits (n, V) with each chosen concept."""
    there: NDArray[np.bool_]
    """Flags (n,) of the patients who have a vector."""


@dataclass(frozen=True)
class Evidence:
    """Result of the test."""

    recognised: float | None
    """Share of patients whose cluster is recognised from the other half of their record; None if too few have both halves."""
    expected: float | None
    """The same for the records of different but similar patients, mean over permutations."""
    excess: float | None
    """(recognised - expected) / (1 - expected): 0 is chance, 1 is perfect."""
    p: float | None
    patients: int
    verdict: str
    """'none', 'weak', 'clear', or 'untested'."""
    per_cluster: dict[int, float | None]
    """Share recognised among the patients of each cluster (by its label, from 0)."""
    expected_per_cluster: dict[int, float | None]
    """The same for the records of different but similar patients, mean over permutations: chance level of each cluster."""

    def as_dict(self, numbers: NDArray[np.int64]) -> dict[str, Any]:
        """Dictionary for JSON, with clusters identified by their `numbers` (clusters,)."""
        found = asdict(self)
        for name in ("per_cluster", "expected_per_cluster"):
            found[name] = {str(numbers[label]): share for label, share in found[name].items()}
        return found


def read(folder: Path) -> dict[str, Any]:
    """Read the result of the test (`Evidence.as_dict`) from the folder of a `clusters` artifact."""
    found: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
    return found


def split_half(
    vectors: Vectors,
    labels: Labels,
    halves: tuple[Half, Half],
    similar: Labels,
    *,
    neighbours: int,
    permutations: int,
    seed: int,
) -> Evidence:
    """Test clusters of whole records (`vectors` (n, D), `labels` (n,)) on the halves of the same patients.

    `similar` (n,) numbers blocks of similar patients (see `matched_blocks`). Both directions are tested and averaged.
    """
    both = np.flatnonzero(halves[0].there & halves[1].there)
    clusters = range(int(labels.max()) + 1)
    if len(both) < FEWEST_PATIENTS:
        return Evidence(None, None, None, None, len(both), "untested", dict.fromkeys(clusters), dict.fromkeys(clusters))
    rng = np.random.default_rng([seed, 0x5911])
    hits, chance, own_chance = np.zeros(len(both)), np.zeros(permutations), np.zeros(len(both))
    for one, other in (halves, halves[::-1]):
        cluster = _assign(vectors, labels, one.vectors[both], both, neighbours)
        folds = KFold(FOLDS, shuffle=True, random_state=seed)
        told = cross_val_predict(MultinomialNB(), other.counts[both], cluster, cv=folds)
        hits += (told == cluster) / 2
        for number in range(permutations):
            alike = (told[_shuffle_within(similar[both], rng)] == cluster) / 2
            chance[number] += alike.mean()
            own_chance += alike / permutations
    recognised, expected = float(hits.mean()), float(chance.mean())
    p = float((1 + (chance >= recognised).sum()) / (1 + permutations))
    excess = (recognised - expected) / max(1 - expected, 1e-9)
    verdict = "none" if p > MAX_P or excess < NONE_BELOW else "weak" if excess < WEAK_BELOW else "clear"
    members = labels[both]
    own, by_chance = ({k: _mean(shares[members == k]) for k in clusters} for shares in (hits, own_chance))
    return Evidence(recognised, expected, excess, p, len(both), verdict, own, by_chance)


def _mean(shares: NDArray[np.float64]) -> float | None:
    return float(shares.mean()) if len(shares) else None


def matched_blocks(categories: list[NDArray[Any]], numbers: list[NDArray[Any]], most: int = ALIKE) -> Labels:
    """Block numbers (n,): blocks hold at most `most` patients, who are equal in all categories (n,) and close in all numbers (n,).

    Within each combination of categories, patients are halved repeatedly, at the median of each number in turn.
    """
    combination = np.unique(
        np.stack([np.unique(c, return_inverse=True)[1] for c in categories]), axis=1, return_inverse=True
    )[1]
    blocks = np.empty(len(combination), np.int64)
    count = 0
    waiting = [(np.flatnonzero(combination == number), 0) for number in np.unique(combination)]
    while waiting:
        members, depth = waiting.pop()
        if len(members) <= most:
            blocks[members] = count
            count += 1
            continue
        ordered = members[np.argsort(numbers[depth % len(numbers)][members], kind="stable")]
        middle = len(ordered) // 2
        waiting += [(ordered[:middle], depth + 1), (ordered[middle:], depth + 1)]
    return blocks


def votes(vectors: Vectors, labels: Labels, halves: tuple[Half, Half], neighbours: int) -> tuple[Labels, list[Labels]]:
    """Rows (m,) of the patients with both halves, and the cluster (m,) that each half gets by the nearest whole records."""
    both = np.flatnonzero(halves[0].there & halves[1].there)
    return both, [_assign(vectors, labels, half.vectors[both], both, neighbours) for half in halves]


def _assign(vectors: Vectors, labels: Labels, halves: Vectors, own: NDArray[np.int64], neighbours: int) -> Labels:
    """Assign each half to the cluster of most of the nearest whole records; a patient's own record does not vote."""
    found = nearest_others(halves, unit_length(vectors), own, neighbours)
    return vote(found, labels, int(labels.max()) + 1)[0]


def _shuffle_within(blocks: Labels, rng: np.random.Generator) -> NDArray[np.int64]:
    """Random permutation (n,) that keeps every patient in their block."""
    order = np.lexsort((rng.random(len(blocks)), blocks))
    grouped = np.argsort(blocks, kind="stable")
    permutation = np.empty(len(blocks), np.int64)
    permutation[grouped] = order
    return permutation
