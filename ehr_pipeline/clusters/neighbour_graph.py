"""The graph of nearest neighbours, which the clustering methods use."""

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from ehr_pipeline.clusters.neighbours import exact_neighbours, nearest_of

_log = logging.getLogger("ehr_pipeline")
Vectors = NDArray[np.float32]
Index = Literal["auto", "exact", "approximate"]
WEAK_LINK = 1e-3
EXACT_UP_TO = 300_000
"""With more patients, an approximate index is used, because the time of exact search grows with the square of their number."""
RECALL, SAMPLE = 0.97, 1000
"""The share of true neighbours that the approximate index must find, checked on this many patients."""


@dataclass(frozen=True)
class Graph:
    """A symmetric graph of patients."""

    links: csr_array
    """Weights (n, n): 1 if each of two patients is a neighbour of the other, 0.5 if only one is; 0 on the diagonal."""
    parts: int
    """Number of connected parts before they were joined."""
    exact: bool
    """Whether the neighbours come from exact search."""


def neighbour_graph(unit: Vectors, neighbours: int, seed: int = 0, index: Index = "auto") -> Graph:
    """Build the graph of unit vectors (n, D). Each patient counts as one of their own `neighbours`, as in scikit-learn.

    If the graph is not connected, its parts are joined by weak links between the nearest parts, because spectral methods need a
    connected graph; the parts still become separate clusters.
    """
    n = len(unit)
    k = max(min(neighbours, n - 1) - 1, 1)
    exact = index == "exact" or (index == "auto" and n <= EXACT_UP_TO)
    nearest = exact_neighbours(unit, k)[0] if exact else approximate_neighbours(unit, k, seed)
    directed = csr_array(
        (np.full(nearest.size, 0.5, np.float32), nearest.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n)
    )
    links = csr_array(directed + directed.T)
    parts, part = connected_components(links, directed=False)
    if parts > 1:
        links = links + _joints(unit, parts, part)
    return Graph(_narrow(links), int(parts), exact)


def approximate_neighbours(unit: Vectors, k: int, seed: int) -> NDArray[np.int32]:
    """Return the k nearest other patients (n, k) by unit vectors (n, D), found approximately: about RECALL of them are true
    neighbours.

    An inverted file (Jégou, Douze & Schmid 2011, with faiss): vectors are in lists, one for each of √n centres, and only the lists
    nearest to a patient are searched. The number of searched lists is doubled until a sample of patients has enough of its true
    neighbours.
    """
    import faiss  # imported only here: few studies have so many patients

    n, width = unit.shape
    unit = np.ascontiguousarray(unit)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, max(int(n**0.5), 1), faiss.METRIC_INNER_PRODUCT)
    index.cp.seed, index.cp.max_points_per_centroid = seed, 64
    index.train(unit)
    index.add(unit)
    sample = np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64)
    true = _without_self(nearest_of(unit[sample], unit, k + 1), sample, k)
    index.nprobe = 8
    while True:
        nearest = _without_self(index.search(unit[sample], k + 1)[1], sample, k)
        recall = float((nearest[:, :, None] == true[:, None, :]).any(1).mean())
        if index.nprobe >= index.nlist or recall >= RECALL:
            break
        index.nprobe = min(2 * index.nprobe, index.nlist)
    _log.info("approximate nearest neighbours (inverted file): searching %d of %d lists", index.nprobe, index.nlist)
    all_found = index.search(unit, k + 1)[1]
    lacking = np.flatnonzero((all_found < 0).any(axis=1))  # the lists that were searched hold too few
    all_found[lacking] = nearest_of(unit[lacking], unit, k + 1)
    return _without_self(all_found, np.arange(n), k).astype(np.int32)


def _without_self(nearest: NDArray[np.int64], rows: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the first k of the k + 1 `nearest` neighbours (m, k + 1) of `rows` (m,) that are not the row itself."""
    others = nearest != rows[:, None]
    others &= np.cumsum(others, axis=1) <= k
    first: NDArray[np.int64] = nearest[others].reshape(len(rows), k)
    return first


def _joints(unit: Vectors, parts: int, part: NDArray[np.int32]) -> csr_array:
    """Return weak links that join each part to the nearest earlier part."""
    order = np.argsort(part, kind="stable")
    start = np.searchsorted(part[order], np.arange(parts))
    centres = np.add.reduceat(unit[order], start, axis=0) / np.diff(np.append(start, len(part)))[:, None]
    member = order[start]
    joined = member[[int(np.argmax(centres[:number] @ centres[number])) for number in range(1, parts)]]
    weight = np.full(parts - 1, WEAK_LINK, np.float32)
    link = coo_array((weight, (member[1:], joined)), shape=(len(unit), len(unit))).tocsr()
    return csr_array(link + link.T)


def _narrow(links: csr_array) -> csr_array:
    """Convert indices to 32 bits, which scikit-learn requires; adding sparse matrices may have widened them."""
    links.sort_indices()
    return csr_array((links.data, links.indices.astype(np.int32), links.indptr.astype(np.int32)), shape=links.shape)
