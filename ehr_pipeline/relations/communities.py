"""Find communities in a graph: sets of concepts with more links among them than their numbers of links would give by chance."""

from collections import defaultdict
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

ROUNDS = 50


def louvain(links: sparse.csr_array, seed: int) -> NDArray[np.int64]:
    """Return the community of each node (n,), numbered from 0, the largest first (Blondel et al. 2008).

    `links` (n, n) is symmetric with weights above 0 and without loops. A node without links is a community of its own.
    """
    rng = np.random.default_rng([seed, 0x10BA])
    n = links.shape[0]
    node = np.arange(n)  # for each original node: its node on the current level
    links = links.tocsr()
    rows = [slice(*bounds) for bounds in pairwise(links.indptr.tolist())]
    level = [dict(zip(links.indices[row].tolist(), links.data[row].tolist(), strict=True)) for row in rows]
    while True:
        community = _moved(level, rng)
        names, numbered = np.unique(community, return_inverse=True)
        node = numbered[node]
        if len(names) == len(level):
            break
        level = _joined(level, numbered.tolist(), len(names))
    sizes = np.bincount(node, minlength=1)
    order = np.argsort(-sizes, kind="stable")
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    return number[node]


def _moved(level: list[dict[int, float]], rng: np.random.Generator) -> NDArray[np.int64]:
    """Move single nodes to the community with the largest gain in modularity, until no move gains anything."""
    degree = [sum(row.values()) for row in level]
    whole = sum(degree)
    community, total = list(range(len(level))), list(degree)
    for _ in range(ROUNDS if whole else 0):
        moved = False
        for place in rng.permutation(len(level)).tolist():
            current = community[place]
            total[current] -= degree[place]
            toward: dict[int, float] = defaultdict(float)
            for other, weight in level[place].items():
                if other != place:
                    toward[community[other]] += weight
            best, gain = current, toward.get(current, 0.0) - degree[place] * total[current] / whole
            for candidate, weight in sorted(toward.items()):
                better = weight - degree[place] * total[candidate] / whole
                if better > gain + 1e-12:
                    best, gain = candidate, better
            community[place] = best
            total[best] += degree[place]
            moved |= best != current
        if not moved:
            break
    return np.array(community, np.int64)


def _joined(level: list[dict[int, float]], community: list[int], number: int) -> list[dict[int, float]]:
    """Return the graph whose nodes are the communities. Links within a community become a loop."""
    joined: list[dict[int, float]] = [defaultdict(float) for _ in range(number)]
    for place, row in enumerate(level):
        for other, weight in row.items():
            joined[community[place]][community[other]] += weight
    return joined
