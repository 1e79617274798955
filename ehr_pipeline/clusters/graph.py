"""The graph of nearest neighbours that the methods work on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from ehr_pipeline.clusters.neighbours import exact_neighbours

Vectors = NDArray[np.float32]
Index = Literal["auto", "exact", "approximate"]
WEAK_LINK = 1e-3
EXACT_UP_TO = 300_000
"""More patients than this are searched by an approximate index: the exact way takes the square of their number."""


@dataclass(frozen=True)
class Graph:
    """A symmetric graph of patients."""

    links: csr_array
    """Weights (n, n): 1 where both are neighbours of each other, 0.5 where one is; no loops."""
    parts: int
    """Connected parts before they were joined."""
    exact: bool
    """Whether the neighbours are certainly the nearest."""


def neighbour_graph(unit: Vectors, neighbours: int, seed: int = 0, index: Index = "auto") -> Graph:
    """The graph of unit vectors (n, D); each patient counts as one of its own neighbours, as scikit-learn has it.

    Where the graph falls apart, its parts are joined by weak links between their nearest centres, so that spectral methods have
    one graph to work on; the parts still come out as clusters.
    """
    n = len(unit)
    k = max(min(neighbours, n - 1) - 1, 1)
    exact = index == "exact" or (index == "auto" and n <= EXACT_UP_TO)
    found = exact_neighbours(unit, k)[0] if exact else approximate_neighbours(unit, k, seed)
    directed = csr_array(
        (np.full(found.size, 0.5, np.float32), found.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n)
    )
    links = csr_array(directed + directed.T)
    parts, part = connected_components(links, directed=False)
    if parts > 1:
        links = links + _joints(unit, parts, part)
    return Graph(_narrow(links), int(parts), exact)


def approximate_neighbours(unit: Vectors, k: int, seed: int) -> NDArray[np.int32]:
    """The k nearest others (n, k) by nearest-neighbour descent (Dong 2011, through pynndescent): nearly all of them right."""
    from pynndescent import NNDescent  # compiles for seconds when it is imported: only where it is used

    found, _ = NNDescent(
        unit, metric="dot", n_neighbors=k + 1, random_state=seed, low_memory=True, compressed=False
    ).neighbor_graph
    others = found != np.arange(len(unit))[:, None]
    others &= np.cumsum(others, axis=1) <= k
    chosen: NDArray[np.int32] = found[others].reshape(len(unit), k).astype(np.int32)
    return chosen


def _joints(unit: Vectors, parts: int, part: NDArray[np.int32]) -> csr_array:
    """Weak links that join each part to the nearest of those before it."""
    order = np.argsort(part, kind="stable")
    start = np.searchsorted(part[order], np.arange(parts))
    centres = np.add.reduceat(unit[order], start, axis=0) / np.diff(np.append(start, len(part)))[:, None]
    member = order[start]
    joined = member[[int(np.argmax(centres[:number] @ centres[number])) for number in range(1, parts)]]
    weight = np.full(parts - 1, WEAK_LINK, np.float32)
    link = coo_array((weight, (member[1:], joined)), shape=(len(unit), len(unit))).tocsr()
    return csr_array(link + link.T)


def _narrow(links: csr_array) -> csr_array:
    """scikit-learn takes 32-bit indices only; sums of sparse matrices may widen them."""
    links.sort_indices()
    return csr_array((links.data, links.indices.astype(np.int32), links.indptr.astype(np.int32)), shape=links.shape)
