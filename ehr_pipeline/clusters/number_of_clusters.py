"""Find how many clusters the data support: the largest number on whose clusters the two halves of records agree beyond chance.

For each number of clusters, each half of a patient's visits is assigned to a cluster by vote of the nearest whole records of other
patients. A number is supported if

1. over all clusters, the two halves of a patient agree more often than halves of two similar patients, and
2. the same holds for each cluster and its rival (the cluster that gets most of the halves that this cluster loses): among the
   patients who have no half in any other cluster, the two halves agree on the cluster more often than by chance.

The second condition limits the number. If a group is divided into two clusters by nothing that lasts, its patients still differ
from all other groups, but the halves of their records fall into either cluster by chance. Chance is measured by exchanging halves
within blocks of similar patients (`matching.Matching`). If a cluster and its rival share no such block, they differ in the
attributes that define blocks (such as the disease). Such a pair neither supports a number of clusters nor speaks against it. If no
number is supported, there is one cluster.

Agreement beyond chance is Cohen's kappa over blocks (Barlow, Lai & Azen 1991, Statistics in Medicine 10), 1 for halves that always
agree, 0 for chance. Its deviate uses the exact mean and variance over all shuffles (Mantel & Haenszel 1959, JNCI 22, for two
clusters; Hubert 1977, Psychological Bulletin 84, for several). The data that make a cluster do not test it: no patient votes on
parts of their own record.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from ehr_pipeline.clusters.assign import nearest_clustered, vote
from ehr_pipeline.clusters.evidence import FEWEST_PATIENTS, Half
from ehr_pipeline.clusters.matching import Matching
from ehr_pipeline.clusters.methods import METHODS, Labels, Vectors
from ehr_pipeline.clusters.neighbour_graph import Graph, neighbour_graph
from ehr_pipeline.clusters.settings import ClustersSettings
from ehr_pipeline.clusters.spectral import spectrum
from ehr_pipeline.disclosure import spreadsheet
from ehr_pipeline.tables import schemas

MOST_PATIENTS = 10_000
"""Of more patients than this, a random sample of this size is used. A division too fine to be seen in the sample does not count."""
FEWEST = 10
"""Numbers of clusters that would have fewer patients per cluster than this, on average, are not tried."""
MAX_P = 0.05
LEAST = 0.2
"""Smallest agreement beyond chance (kappa) that a cluster needs; lower agreement is called slight (Landis & Koch 1977)."""
FILE = "support.csv"
NEAR = 4
"""Number of patients in a block. Blocks are small, because parts of a group differ mostly by age, which must be matched closely."""


@dataclass(frozen=True)
class Agreement:
    """How well the halves of patients' records agree on a cluster."""

    kappa: float
    """Agreement beyond chance; NaN if nobody can be compared."""
    deviate: float
    """Normal deviate of kappa under shuffles; 0 if nobody can be compared."""
    patients: int
    """Number of patients in blocks in which halves can be exchanged: those with several patients, not all in one cluster."""


NOBODY = Agreement(float("nan"), 0.0, 0)


@dataclass(frozen=True)
class HalvesAgreement:
    """How well halves agree on the clusters, for one number of clusters."""

    n: int
    halves: float
    """Kappa over all clusters; NaN if nobody can be compared."""
    weakest: float
    """The smallest kappa of a cluster and its rival; NaN if none can be compared."""
    supported: bool


def largest(tried: Sequence[HalvesAgreement]) -> int:
    """Return the largest number of clusters that the data support; 1 if they support no division."""
    return max((one.n for one in tried if one.supported), default=1)


def sample(patients: int, seed: int) -> Labels:
    """Return the rows of the patients to examine, ascending: all, or MOST_PATIENTS of them."""
    if patients <= MOST_PATIENTS:
        return np.arange(patients)
    return np.sort(np.random.default_rng([seed, 0x9B0]).choice(patients, MOST_PATIENTS, replace=False))


def write(folder: Path, tried: Sequence[HalvesAgreement], strength: NDArray[np.float64]) -> None:
    """Write `support.csv`. `strength` are prediction strengths (repetitions, numbers of clusters), for 2, 3, … clusters."""
    spreadsheet.write(folder / FILE, schemas.SUPPORT, (_row(one, strength[:, one.n - 2 : one.n - 1]) for one in tried))


def _row(one: HalvesAgreement, strength: NDArray[np.float64]) -> tuple[object, ...]:
    known = strength[np.isfinite(strength)]
    figures = (one.halves, one.weakest, *((known.mean(), known.std()) if len(known) else (np.nan, np.nan)))
    halves, weakest, mean, spread = (f"{value:.4f}" if np.isfinite(value) else "" for value in figures)
    return one.n, halves, weakest, str(one.supported).lower(), mean, spread


def read(folder: Path) -> list[dict[str, Any]]:
    """Read the rows (`schemas.SUPPORT`) from the folder of a `clusters` artifact; [] if it has no such table."""
    path = folder / FILE
    return list(spreadsheet.read(path, schemas.SUPPORT)) if path.is_file() else []


def of_cohort(
    unit: Vectors, halves: tuple[Half, Half], matched_on: Matching, settings: ClustersSettings, seed: int
) -> list[HalvesAgreement]:
    """Try the numbers of clusters for a cohort with unit vectors (n, D), by the method of the settings."""
    rows = sample(len(unit), seed)
    some, few = unit[rows], [Half(half.vectors[rows], half.counts[rows], half.there[rows]) for half in halves]
    most = min(settings.examine_up_to, len(rows) // FEWEST)
    if most < 2:
        return []
    graph = neighbour_graph(some, settings.neighbours, seed)
    if settings.method == "spectral":
        divide = spectrum(graph, most, seed).labels
    else:
        divide = partial(_by_method, settings.method, some, graph, seed)
    pair = few[0], few[1]
    return examine(some, pair, matched_on.among(rows), divide, most=most, neighbours=settings.neighbours)


def _by_method(method: str, unit: Vectors, graph: Graph, seed: int, n: int) -> Labels:
    return METHODS[method](unit, graph, n, seed)


def examine(
    unit: Vectors,
    halves: tuple[Half, Half],
    matched_on: Matching,
    divide: Callable[[int], Labels],
    *,
    most: int,
    neighbours: int,
) -> list[HalvesAgreement]:
    """Try 2 to `most` clusters of patients with unit vectors (n, D); `divide` gives their labels (n,) for a number of clusters."""
    both = np.flatnonzero(halves[0].there & halves[1].there)
    if len(both) < FEWEST_PATIENTS:
        return []
    near = [nearest_clustered(half.vectors[both], unit, both, neighbours) for half in halves]
    among = _coded(matched_on.among(both))
    blockings, bar = _blockings(among), float(-ndtri(MAX_P / (most - 1)))
    each, tried = float(-ndtri(MAX_P)), []
    for n in range(2, most + 1):
        labels = divide(n)
        votes = [vote(nearest, labels, n)[0] for nearest in near]
        overall = _least(agreement(votes[0], votes[1], blocks) for blocks in blockings)
        pairs = list(_with_rivals(votes, among, n))
        known = [one for one in pairs if one is not None and one.patients]
        fine = None not in pairs and bool(known) and all(one.kappa >= LEAST and one.deviate > each for one in known)
        weakest = min((one.kappa for one in known), default=float("nan"))
        tried.append(HalvesAgreement(n, overall.kappa, weakest, fine and overall.deviate > bar and overall.kappa > 0))
    return tried


def _with_rivals(votes: Sequence[Labels], matched_on: Matching, n: int) -> Iterator[Agreement | None]:
    """Yield the agreement on each cluster and its rival; None for a small cluster that cannot be compared."""
    crossed = np.bincount(votes[0] * n + votes[1], minlength=n * n).reshape(n, n)
    crossed = crossed + crossed.T
    for cluster in range(n):
        lost = np.where(np.arange(n) == cluster, -1, crossed[cluster])
        agreement_of_pair = _between(votes, matched_on, (cluster, int(lost.argmax())))
        yield agreement_of_pair if agreement_of_pair.patients or crossed[cluster].sum() >= 2 * FEWEST_PATIENTS else None


def _between(votes: Sequence[Labels], matched_on: Matching, pair: tuple[int, int]) -> Agreement:
    """Return how well two halves agree on which of two clusters a patient is in, for patients with no half in another one."""
    rows = np.flatnonzero(np.isin(votes[0], pair) & np.isin(votes[1], pair))
    one, other = ((vote[rows] == pair[1]).astype(np.int64) for vote in votes)
    if not len(rows):
        return NOBODY
    return _least(agreement(one, other, blocks) for blocks in _blockings(matched_on.among(rows)))


def _coded(matched_on: Matching) -> Matching:
    """Return the same patients with their categories coded as numbers, which are compared faster than texts."""
    categories = tuple(tuple(np.unique(one, return_inverse=True)[1] for one in some) for some in matched_on.categories)
    return Matching(categories, matched_on.numbers)


def _blockings(matched_on: Matching) -> list[Labels]:
    """Return the sets of blocks (m,) in which agreement is measured: blocks of patients similar in all attributes; and, for each
    numeric attribute, smaller blocks of patients close in it."""
    categories = matched_on.categories[0]
    return [*matched_on.blockings(NEAR), *(in_order(categories, number) for number in matched_on.numbers)]


def in_order(categories: Sequence[NDArray[Any]], number: NDArray[Any]) -> Labels:
    """Return blocks (m,) of NEAR patients who follow each other in a number (m,), among those equal in all categories (m,)."""
    order = np.lexsort((number, *categories))
    changes = np.any([np.diff(category[order], prepend=category[order[:1]]) != 0 for category in categories], axis=0)
    place = np.arange(len(order))
    start = np.maximum.accumulate(np.where(changes, place, 0))
    blocks = np.empty(len(order), np.int64)
    blocks[order] = np.cumsum((place - start) % NEAR == 0) - 1
    return blocks


def _least(agreements: Iterator[Agreement]) -> Agreement:
    """Return the smallest kappa, the smallest deviate and the smallest number of patients over several sets of blocks, without sets
    in which nobody could be compared."""
    known = [one for one in agreements if one.patients]
    if not known:
        return NOBODY
    least = (min(getattr(one, name) for one in known) for name in ("kappa", "deviate", "patients"))
    return Agreement(*least)


def agreement(one: Labels, other: Labels, blocks: Labels) -> Agreement:
    """Return how much more often labels `one` and `other` (m,) agree than if `other` were permuted within `blocks` (m,)."""
    count = int(max(one.max(initial=0), other.max(initial=0))) + 1
    numbered = np.unique(blocks, return_inverse=True)[1]
    size = np.bincount(numbered).astype(np.float64)
    first, second = (
        np.bincount(numbered * count + some, minlength=len(size) * count).reshape(-1, count).astype(np.float64)
        for some in (one, other)
    )
    # In a block of one patient, or with one cluster on either side, shuffling cannot change the agreement.
    free = (size > 1) & (first.max(axis=1) < size) & (second.max(axis=1) < size)
    patients = float(size[free].sum())
    if not patients:
        return NOBODY
    size, first, second = size[free], first[free], second[free]
    same = float((one == other)[free[numbered]].sum())
    products = first * second
    expected = products.sum(axis=1) / size
    more = products.sum(axis=1) ** 2 - (products * (first + second - 1)).sum(axis=1)
    variance = float((more / (size * (size - 1)) + expected - expected**2).sum())
    chance = float(expected.sum())
    kappa = (same - chance) / max(patients - chance, 1e-9)
    return Agreement(kappa, (same - chance) / np.sqrt(variance) if variance > 0 else 0.0, int(patients))
