"""Compare ways to find associated concepts, as graphs with the same number of edges.

Every measure of a graph depends on its density. Graphs cut at a threshold would therefore differ by the threshold alone. A random
graph is compared as well, because a meaningless graph scores highest on diversity. Axes: n concepts, m edges.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse, stats
from scipy.sparse.csgraph import connected_components

Weights = NDArray[np.floating[Any]]
PERSISTENCE, DEPTH = 0.9, 20
"""Parameters of rank-biased overlap: the probability that a reader continues to the next partner, and the number of partners
compared."""
MOST_PAIRS = 500_000
"""Pairs drawn for the rank correlation, if there are more."""


def edges_of(weights: Weights, most: int | None) -> NDArray[np.int64]:
    """Return the `most` edges (m, 2) with the largest finite weights, or all, the heaviest first. `weights` (n, n) are
    symmetric."""
    one, other = np.triu_indices(len(weights), 1)
    values = weights[one, other]
    usable = np.flatnonzero(np.isfinite(values))
    order = usable[np.argsort(-values[usable], kind="stable")[:most]]
    return np.stack([one[order], other[order]], axis=1).astype(np.int64)


@dataclass(frozen=True)
class Graph:
    """The heaviest edges of one measure."""

    name: str
    weights: Weights
    """Symmetric (n, n)."""
    most: int | None
    """The largest number of edges; None for all pairs with a finite weight."""
    seed: int

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """The edges (m, 2), the heaviest first; the first concept of each has the lower number."""
        return edges_of(self.weights, self.most)

    @cached_property
    def links(self) -> sparse.csr_array:
        """The adjacency matrix (n, n) of 0 and 1."""
        n, (one, other) = len(self.weights), self.edges.T
        ones = np.ones(2 * len(one))
        return sparse.csr_array((ones, (np.concatenate([one, other]), np.concatenate([other, one]))), shape=(n, n))

    @cached_property
    def degree(self) -> NDArray[np.int64]:
        """The number of partners of each concept (n,)."""
        return np.asarray(self.links.sum(1), np.int64).ravel()

    @cached_property
    def communities(self) -> NDArray[np.int64]:
        """The community of each concept (n,), numbered from 0, the largest first: a set of concepts with more edges among them than
        their degrees would give by chance (Louvain method: Blondel et al. 2008). A concept without edges is a community of its own.
        """
        import networkx as nx

        links = nx.from_scipy_sparse_array(self.links)
        found = (
            nx.community.louvain_communities(links, seed=self.seed) if self.links.nnz else [{node} for node in links]
        )
        community = np.empty(len(self.weights), np.int64)
        for number, members in enumerate(sorted(found, key=lambda some: (-len(some), min(some)))):
            community[list(members)] = number
        return community

    @cached_property
    def partners(self) -> NDArray[np.int64]:
        """The nearest partners of each concept (n, DEPTH or fewer), the nearest first; -1 fills up shorter lists."""
        weights = np.where(np.isfinite(self.weights), self.weights, -np.inf)
        np.fill_diagonal(weights, -np.inf)
        order = np.argsort(-weights, axis=1, kind="stable")[:, : min(DEPTH, len(weights) - 1)]
        return np.where(np.isfinite(np.take_along_axis(weights, order, axis=1)), order, -1)


def clustering(links: sparse.csr_array) -> float:
    """Return the clustering coefficient: the share of a concept's pairs of partners that are themselves partners, averaged over
    concepts (Watts & Strogatz 1998)."""
    degree = np.asarray(links.sum(1)).ravel()
    triangles = np.asarray((links @ links).multiply(links).sum(1)).ravel()
    return float(np.mean(np.divide(triangles, degree * (degree - 1), out=np.zeros(len(degree)), where=degree > 1)))


def gini(values: NDArray[Any]) -> float:
    """Return the Gini coefficient of numbers of partners: 0 if all concepts have equally many, near 1 if few hubs have nearly
    all."""
    ordered = np.sort(values.astype(np.float64))
    total = ordered.sum()
    if not total:
        return 0.0
    n = len(ordered)
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total))


def diversity(graph: Graph, group: NDArray[np.int64]) -> tuple[float, float]:
    """Return two means over concepts: of the share of partners outside the concept's group, and of the normalised entropy of its
    partners over groups."""
    groups = int(group.max(initial=0)) + 1
    belongs = sparse.csr_array((np.ones(len(group)), (np.arange(len(group)), group)), shape=(len(group), groups))
    counts = (graph.links @ belongs).toarray()
    has = graph.degree > 0
    if not has.any():
        return 0.0, 0.0
    share = counts[has] / graph.degree[has, None]
    outside = 1 - share[np.arange(len(share)), group[has]]
    entropy = stats.entropy(share, axis=1) / np.log(groups) if groups > 1 else np.zeros(len(share))
    return float(outside.mean()), float(entropy.mean())


def describe(graph: Graph, group: NDArray[np.int64]) -> dict[str, Any]:
    """Return measures of one graph. `group` (n,) is the group of each concept, such as its semantic type."""
    parts, part = connected_components(graph.links, directed=False)
    outside, entropy = diversity(graph, group)
    return {
        "edges": len(graph.edges),
        "coverage": float((graph.degree > 0).mean()),
        "hubness": gini(graph.degree),
        "clustering": clustering(graph.links),
        "components": int(parts),
        "largest_component": int(np.bincount(part).max(initial=0)),
        "communities": int(graph.communities.max(initial=-1)) + 1,
        "modularity": modularity(graph.links, graph.communities),
        "partners_outside_group": outside,
        "entropy_of_partners": entropy,
    }


def modularity(links: sparse.csr_array, community: NDArray[np.int64]) -> float:
    """Return the share of links within communities, minus the share expected from degrees alone (Newman & Girvan 2004)."""
    degree = np.asarray(links.sum(1)).ravel()
    whole = degree.sum()
    if not whole:
        return 0.0
    one, other = links.nonzero()
    inside = float(np.asarray(links[one, other]).ravel()[community[one] == community[other]].sum())
    sums = np.bincount(community, degree)
    return inside / float(whole) - float(((sums / whole) ** 2).sum())


def compare(one: Graph, other: Graph) -> dict[str, float]:
    """Return how well two graphs agree: on edges (Jaccard), the order of partners, the ranks of all pairs, and communities."""
    from sklearn.metrics import normalized_mutual_info_score

    n = len(one.weights)
    first, second = ({tuple(edge) for edge in graph.edges.tolist()} for graph in (one, other))
    either = len(first | second)
    return {
        "edges": len(first & second) / either if either else 0.0,
        "partners": rank_biased_overlap(one.partners, other.partners),
        "ranks": _spearman(one.weights, other.weights, one.seed),
        "communities": float(normalized_mutual_info_score(one.communities, other.communities)) if n else 0.0,
    }


def rank_biased_overlap(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Return the rank-biased overlap of partner lists (Webber, Moffat & Zobel 2010), cut at DEPTH and rescaled, averaged over
    concepts.

    `one` and `other` (n, depth) hold partners in order; negative numbers fill up shorter lists. The overlap of two lists is 1 if
    they are equal, and 0 if they share no partner.
    """
    depth = min(one.shape[1], other.shape[1])
    if not depth or not len(one):
        return 0.0
    weight = PERSISTENCE ** np.arange(depth)
    place = np.full((len(one), depth), depth, np.int64)
    same = (one[:, :depth, None] == other[:, None, :depth]) & (one[:, :depth, None] >= 0)
    row, first, second = np.nonzero(same)
    place[row, first] = np.maximum(first, second)  # from this depth on, the partner is in both lists
    shared = (place[:, :, None] <= np.arange(depth)).sum(1)
    agreement = shared / np.arange(1, depth + 1)
    return float((agreement @ weight / weight.sum()).mean())


def _spearman(one: Weights, other: Weights, seed: int) -> float:
    rows, columns = np.triu_indices(len(one), 1)
    if len(rows) > MOST_PAIRS:
        drawn = np.random.default_rng([seed, 0x5AEA]).choice(len(rows), MOST_PAIRS, replace=False)
        rows, columns = rows[drawn], columns[drawn]
    values = one[rows, columns], other[rows, columns]
    known = np.isfinite(values[0]) & np.isfinite(values[1])
    if known.sum() < 3 or any(np.ptp(part[known]) == 0 for part in values):
        return 0.0
    return float(stats.spearmanr(values[0][known], values[1][known]).statistic)


def average_precision(weights: Weights, known: NDArray[np.int64]) -> float:
    """Return the average precision with which the weights (n, n) rank the known pairs (m, 2) above all others. Ties count as
    errors."""
    one, other = np.triu_indices(len(weights), 1)
    values = np.where(np.isfinite(weights[one, other]), weights[one, other], -np.inf)
    true = np.zeros(weights.shape, bool)
    true[known[:, 0], known[:, 1]] = true[known[:, 1], known[:, 0]] = True
    hit = true[one, other]
    if not hit.any():
        return 0.0
    order = np.lexsort((hit, -values))
    ranked = hit[order]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    return float(precision[ranked].mean())
